/** What can be checked of a page by itself: axe's rules (names, roles, states, contrast, landmarks; WCAG 2.2 A and AA, and what axe calls best practice), and where Tab leads. */
import axe from 'axe-core'
import type { Page } from 'playwright-core'

declare global {
  interface Window { readonly axe: typeof axe }
}

/** What the page does otherwise, and why. */
const EXCEPTIONS: readonly { readonly rule: string; readonly html: RegExp }[] = [
  // A menu or tooltip lies over the page and belongs to the control that opened it, not to a landmark.
  { rule: 'region', html: /role="(?:menu|tooltip)"|id="el-popper-container/ },
  // The rows of machines and snapshots begin with their name, and then show figures that change all the time: nobody wants those read out again and again.
  { rule: 'label-content-name-mismatch', html: /role="(?:option|treeitem)"/ },
]

/** @returns one line for each element that breaks a rule: the rule, the element, and what is wrong with it */
export async function audit(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  // xterm draws its own screen and names its own field.
  const { violations } = await page.evaluate(() => window.axe.run({ exclude: ['.xterm'] }))
  return violations.flatMap(({ id, nodes }) => nodes
    .filter(({ html }) => !EXCEPTIONS.some((exception) => exception.rule === id && exception.html.test(html)))
    .map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)}: ${failureSummary?.replace(/\s+/g, ' ') ?? ''}`))
}

/** Waits until nothing that ends moves or fades any more: colours are what they will be. */
export async function settled(page: Page): Promise<void> {
  await page.evaluate(async () => {
    const frame = (): Promise<number> => new Promise((resolve) => requestAnimationFrame(resolve))
    const ending = (): Animation[] => document.getAnimations().filter((one) => one.playState === 'running' && one.effect?.getComputedTiming().endTime !== Infinity)
    // What was done a moment ago begins its transitions with the next frames.
    do {
      await frame()
      await frame()
      await Promise.allSettled(ending().map((one) => one.finished))
    } while (ending().length > 0)
  })
}

/** Goes through the page with Tab. @returns what the focus stood on, and whether it could be seen there */
export async function walk(page: Page, steps: number): Promise<{ name: string; isVisible: boolean }[]> {
  const stops: { name: string; isVisible: boolean }[] = []
  for (let i = 0; i < steps; i++) {
    await page.keyboard.press('Tab')
    stops.push(await page.evaluate(() => {
      const element = document.activeElement
      if (!element || element === document.body) return { name: '', isVisible: true }
      const rings = [element, element.parentElement, element.parentElement?.parentElement, element.nextElementSibling].filter((one) => one instanceof HTMLElement)
        .map((one) => getComputedStyle(one))
      const isVisible = rings.some(({ boxShadow, outlineStyle, outlineWidth }) => boxShadow !== 'none' || (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0))
      return { name: (element.getAttribute('aria-label') ?? element.textContent ?? '').trim() || (element as HTMLInputElement).name || element.tagName, isVisible }
    }))
  }
  return stops
}

/** What can be checked of a page by itself: names of controls, unique ids, and enough contrast (WCAG 2.2, 1.4.3 and 4.1.2). */
import type { Page } from 'playwright-core'

/** @returns one line for each thing that is wrong */
export function audit(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const CONTROLS = 'a[href], button, input:not([type="hidden"]), select, textarea, [role="button"], [role="tab"], [role="option"], [role="menuitem"], [role="treeitem"], [role="radio"], [role="checkbox"], [role="dialog"], [role="listbox"], [role="tree"], [role="menu"]'
    const problems: string[] = []
    const isShown = (element: Element): boolean => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && element.getClientRects().length > 0
    const what = (element: Element): string => element.outerHTML.slice(0, 160)

    const nameOf = (element: Element): string => {
      const labelled = (element.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ')
      const labels = element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? Array.from(element.labels ?? []).map((label) => label.textContent).join(' ') : ''
      return [element.getAttribute('aria-label'), labelled, labels, element.textContent, element.getAttribute('title')].join(' ').trim()
    }
    for (const element of Array.from(document.querySelectorAll(CONTROLS))) {
      const isTerminal = element.closest('.xterm') !== null // xterm names its own field
      if (!isTerminal && isShown(element) && nameOf(element) === '') problems.push(`has no name: ${what(element)}`)
    }

    const seen = new Set<string>()
    for (const { id } of Array.from(document.querySelectorAll('[id]'))) {
      if (seen.has(id)) problems.push(`id used twice: ${id}`)
      seen.add(id)
    }

    type Colour = [number, number, number, number]
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
    const read = (css: string): Colour => {
      if (!canvas) throw new Error('no canvas')
      canvas.clearRect(0, 0, 1, 1)
      canvas.fillStyle = css
      canvas.fillRect(0, 0, 1, 1)
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data
      return [red, green, blue, alpha / 255]
    }
    const over = ([r, g, b, a]: Colour, [x, y, z]: Colour): Colour => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a), 1]
    const groundOf = (element: Element): Colour => {
      const layers: Colour[] = []
      for (let at: Element | null = element; at; at = at.parentElement) {
        layers.push(read(getComputedStyle(at).backgroundColor))
        if (layers[layers.length - 1][3] === 1) break
      }
      return layers.reduceRight<Colour>((below, layer) => over(layer, below), [255, 255, 255, 1])
    }
    const luminance = ([r, g, b]: Colour): number => {
      const [x, y, z] = [r, g, b].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
      return 0.2126 * x + 0.7152 * y + 0.0722 * z
    }
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const told = new Set<string>()
    for (let node = texts.nextNode(); node; node = texts.nextNode()) {
      const element = node.parentElement
      // What is switched off need not be readable; what lies behind an open dialog is not meant to be.
      if (!element || node.textContent?.trim() === '' || !isShown(element) || element.closest('.xterm, :disabled, .is-disabled, .off, [aria-disabled="true"], .visually-hidden, .skip')) continue
      const style = getComputedStyle(element)
      const ground = groundOf(element)
      const [light, dark] = [luminance(over(read(style.color), ground)), luminance(ground)].sort((a, b) => b - a)
      const ratio = (light + 0.05) / (dark + 0.05)
      const size = parseFloat(style.fontSize)
      const wanted = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5
      const line = `contrast ${ratio.toFixed(2)} of “${node.textContent?.trim().slice(0, 40)}” (${style.color} on ${ground.slice(0, 3).map(Math.round).join(' ')})`
      if (ratio < wanted - 0.005 && !told.has(line)) problems.push(line)
      told.add(line)
    }
    return problems
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

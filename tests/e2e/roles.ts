/** What axe and its like check of roles: parents and children, states they must have, references that lead somewhere, labels (WAI-ARIA 1.2; WCAG 2.2, 1.3.1, 2.4.1, 3.1.1, 4.1.2). */
import type { Page } from 'playwright-core'

/** @returns one line for each thing that is wrong */
export function auditRoles(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const problems: string[] = []
    const isShown = (element: Element): boolean => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && element.getClientRects().length > 0
    const what = (element: Element): string => element.outerHTML.slice(0, 140)
    // xterm and the charts keep their own.
    const shown = (selector: string): Element[] => Array.from(document.querySelectorAll(selector)).filter((element) => isShown(element) && !element.closest('.xterm'))
    const wrong = (kind: string, elements: readonly Element[]): void => elements.forEach((element) => problems.push(`${kind}: ${what(element)}`))

    const PARENTS: Record<string, string> = {
      option: '[role="listbox"], [role="group"]', tab: '[role="tablist"]', menuitem: '[role="menu"], [role="group"]', treeitem: '[role="tree"], [role="group"]', radio: '[role="radiogroup"]',
    }
    for (const [role, parents] of Object.entries(PARENTS)) wrong(`is in no ${parents}`, shown(`[role="${role}"]`).filter((element) => !element.parentElement?.closest(parents)))

    const STATES: Record<string, string> = {
      option: 'aria-selected', tab: 'aria-selected', treeitem: 'aria-selected', combobox: 'aria-expanded', progressbar: 'aria-valuenow', spinbutton: 'aria-valuenow', checkbox: 'aria-checked',
    }
    for (const [role, state] of Object.entries(STATES)) {
      wrong(`has no ${state}`, shown(`[role="${role}"]`).filter((element) => !element.hasAttribute(state) && !(element instanceof HTMLInputElement && ['checkbox', 'number'].includes(element.type))))
    }

    for (const attribute of ['aria-labelledby', 'aria-describedby', 'aria-activedescendant']) {
      wrong(`${attribute} leads nowhere`, shown(`[${attribute}]`).filter((element) => (element.getAttribute(attribute) ?? '').split(' ').some((id) => id !== '' && !document.getElementById(id))))
    }
    for (const label of shown('label[for]')) if (!document.getElementById(label.getAttribute('for') ?? '')) problems.push(`labels nothing: ${what(label)}`)

    const FOCUSABLE = 'a[href], button:not(:disabled), input:not([type="hidden"]):not(:disabled), select, textarea, [tabindex="0"]'
    wrong('can be reached, but is hidden from readers', shown(FOCUSABLE).filter((element) => element.closest('[aria-hidden="true"]') && !element.matches('[tabindex="-1"]')))
    wrong('is inside another control', shown('button, a[href], [role="button"], [role="menuitem"]').filter((element) => element.parentElement?.closest('button, a[href], [role="button"]')))

    // A placeholder goes away as soon as something is typed: it is no label.
    wrong('has no label but its placeholder', shown('input:not([type="hidden"]), textarea').filter((field) => {
      const { labels } = field as HTMLInputElement
      return (labels?.length ?? 0) === 0 && !field.getAttribute('aria-label') && !field.getAttribute('aria-labelledby')
    }))
    wrong('has no text', shown('img').filter((image) => !image.hasAttribute('alt')))

    const mains = shown('main, [role="main"]').length
    if (mains !== 1) problems.push(`${mains} main landmarks`)
    if (document.documentElement.lang === '') problems.push('the page has no language')
    const levels = shown('h1, h2, h3, h4').filter((heading) => !heading.closest('[role="dialog"], [role="alert"], .el-notification')).map((heading) => Number(heading.tagName[1]))
    levels.forEach((level, index) => {
      if (index > 0 && level > levels[index - 1] + 1) problems.push(`heading ${level} after ${levels[index - 1]}`)
    })
    return problems
  })
}

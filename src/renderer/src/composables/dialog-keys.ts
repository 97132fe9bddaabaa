/** What dialogs need of the keyboard beyond their library. */
import { nextTick } from 'vue'

/** A list of choices keeps Escape for itself even while it is closed: then the key is for the dialog around it. */
function onEscape(event: KeyboardEvent): void {
  if (event.key !== 'Escape' || !(event.target instanceof HTMLElement)) return
  const field = event.target.closest('.el-select')?.querySelector('[role="combobox"]')
  const dialog = event.target.closest('[role="dialog"]')
  if (!field || !dialog || field.getAttribute('aria-expanded') === 'true') return
  event.stopPropagation()
  event.preventDefault()
  dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', code: 'Escape', bubbles: true, cancelable: true }))
}

/** Where the focus of a dialog begins: the field that is named so, or the button that harms nothing. */
const INITIAL_FOCUS = '[data-initial-focus], .question-safe'

/** What Element Plus tells a dialog when it has become operable, before it sets the focus itself. */
const TRAPPED = 'focus-trap.focus-after-trapped'

/** The focus is where it belongs before the next key arrives: a person may be quicker than any animation. */
function onTrapped(event: Event): void {
  const first = event.target instanceof HTMLElement ? event.target.querySelector<HTMLElement>(INITIAL_FOCUS) : null
  if (!first) return
  event.preventDefault()
  first.focus()
  if (first instanceof HTMLInputElement) first.select()
}

/** Call once for the page. @returns ends it */
export function followDialogKeys(): () => void {
  window.addEventListener('keydown', onEscape, true)
  window.addEventListener(TRAPPED, onTrapped, true)
  return () => {
    window.removeEventListener('keydown', onEscape, true)
    window.removeEventListener(TRAPPED, onTrapped, true)
  }
}

/** Whether a dialog has the keyboard: one that was answered has not, though it may not be gone yet. */
export const isDialogOpen = (): boolean => document.querySelector('.el-overlay:not([style*="display: none"], .fade-in-linear-leave-active, .dialog-fade-leave-active) [role="dialog"]') !== null

/** Goes to the first field of a dialog that says it is wrong, so that the reason is in sight. */
export async function focusFirstProblem(): Promise<void> {
  await nextTick()
  const wrong = [...document.querySelectorAll<HTMLElement>('[role="dialog"] .el-form-item.is-error')].find((item) => item.getClientRects().length > 0)
  const field = wrong?.querySelector<HTMLElement>('input, textarea')
  wrong?.scrollIntoView({ block: 'center' })
  field?.focus()
}

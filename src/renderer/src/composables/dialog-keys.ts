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

/** @returns ends it */
export function letEscapeLeaveSelects(): () => void {
  window.addEventListener('keydown', onEscape, true)
  return () => window.removeEventListener('keydown', onEscape, true)
}

/** Goes to the first field of a dialog that says it is wrong, so that the reason is in sight. */
export async function focusFirstProblem(): Promise<void> {
  await nextTick()
  const wrong = [...document.querySelectorAll<HTMLElement>('[role="dialog"] .el-form-item.is-error')].find((item) => item.getClientRects().length > 0)
  const field = wrong?.querySelector<HTMLElement>('input, textarea')
  wrong?.scrollIntoView({ block: 'center' })
  field?.focus()
}

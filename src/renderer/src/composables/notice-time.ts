/** How long a toast stays. */

/**
 * Closes it when its time is over. The time begins anew when the pointer or the focus leaves it: nothing goes away under somebody's hand.
 * @param milliseconds 0: it stays until it is closed
 * @returns ends that; to be called when the toast goes
 */
export function closeInTime(toast: HTMLElement, milliseconds: number, close: () => void): () => void {
  if (milliseconds === 0) return () => undefined
  const held = new Set<'pointer' | 'focus'>()
  let timer = setTimeout(close, milliseconds)
  const hold = (by: 'pointer' | 'focus') => (): void => {
    held.add(by)
    clearTimeout(timer)
  }
  const release = (by: 'pointer' | 'focus') => (): void => {
    held.delete(by)
    clearTimeout(timer)
    if (held.size === 0) timer = setTimeout(close, milliseconds)
  }
  toast.addEventListener('pointerenter', hold('pointer'))
  toast.addEventListener('pointerleave', release('pointer'))
  toast.addEventListener('focusin', hold('focus'))
  toast.addEventListener('focusout', release('focus'))
  return () => clearTimeout(timer)
}

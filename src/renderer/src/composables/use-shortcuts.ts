/** Keyboard shortcuts: parsing, matching and showing key combinations; one listener on the window. */
import { onBeforeUnmount, onMounted } from 'vue'
import { isDialogOpen } from './dialog-keys'

export interface KeyCombination {
  readonly key: string
  /** Ctrl, or Command on a Mac. */
  readonly mod: boolean
  readonly shift: boolean
  readonly alt: boolean
}

type KeyLike = Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'shiftKey' | 'altKey'>

export const isMac = (): boolean => /Mac/.test(navigator.platform)

/** Reads `Mod+Shift+N`, `F2`, `Delete`, `Mod+,`. */
export function parseCombination(text: string): KeyCombination {
  const parts = text.split('+')
  const key = parts[parts.length - 1]
  const has = (name: string): boolean => parts.slice(0, -1).includes(name)
  return { key: key.length === 1 ? key.toLowerCase() : key, mod: has('Mod'), shift: has('Shift'), alt: has('Alt') }
}

/** Whether the event is this combination. Symbols such as `?` already imply their own Shift. */
export function matches(event: KeyLike, wanted: KeyCombination, mac = isMac()): boolean {
  const mod = mac ? event.metaKey : event.ctrlKey
  const other = mac ? event.ctrlKey : event.metaKey
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  const isSymbol = key.length === 1 && !/[a-z0-9]/.test(key)
  return key === wanted.key && mod === wanted.mod && !other && event.altKey === wanted.alt && (isSymbol || event.shiftKey === wanted.shift)
}

const MAC_SYMBOLS: Readonly<Record<string, string>> = { Mod: '⌘', Shift: '⇧', Alt: '⌥' }
const KEY_NAMES: Readonly<Record<string, string>> = { Delete: 'Del', Enter: '↵', Backspace: '⌫', ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', Plus: '+' }

/** The combination as it is printed on this computer's keyboard, one string per key. */
export function showCombination(text: string, mac = isMac()): string[] {
  return text.split('+').map((part) => {
    if (mac && MAC_SYMBOLS[part]) return MAC_SYMBOLS[part]
    return part === 'Mod' ? 'Ctrl' : KEY_NAMES[part] ?? part
  })
}

/**
 * Where a shortcut must not act: in fields where the key has its own meaning and in a console, whose keys are the guest's.
 * Function keys and `Mod` combinations still act in fields.
 */
export function isClaimed(target: EventTarget | null, wanted: KeyCombination): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target.closest('.xterm')) return true
  const isField = target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName)
  return isField && !wanted.mod && !/^F\d+$/.test(wanted.key)
}

export interface Shortcut {
  readonly keys: readonly string[]
  /** False when it does not apply now; the key is then left to the page. */
  readonly isEnabled: () => boolean
  readonly run: () => void
}

/** Handles one key event: runs the first shortcut that applies. @returns whether one ran */
export function dispatch(event: KeyboardEvent, shortcuts: readonly Shortcut[]): boolean {
  if (event.defaultPrevented || event.isComposing) return false
  for (const shortcut of shortcuts) {
    const hit = shortcut.keys.map(parseCombination).find((keys) => matches(event, keys))
    if (!hit || isClaimed(event.target, hit) || !shortcut.isEnabled()) continue
    event.preventDefault()
    shortcut.run()
    return true
  }
  return false
}

/** Listens while the component lives. No shortcut acts behind an open dialog. */
export function useShortcuts(shortcuts: () => readonly Shortcut[]): void {
  const listener = (event: KeyboardEvent): void => {
    if (!isDialogOpen()) dispatch(event, shortcuts())
  }
  onMounted(() => window.addEventListener('keydown', listener))
  onBeforeUnmount(() => window.removeEventListener('keydown', listener))
}

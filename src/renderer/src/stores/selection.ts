/** Which machines are selected, and the rules of clicking, Ctrl-clicking, Shift-clicking and arrow keys. */
import { defineStore } from 'pinia'
import { computed, ref } from 'vue'

export type SelectMode = 'single' | 'toggle' | 'range'

/** What a click with these keys means. */
export function modeOf(event: Pick<MouseEvent, 'ctrlKey' | 'metaKey' | 'shiftKey'>): SelectMode {
  if (event.shiftKey) return 'range'
  return event.ctrlKey || event.metaKey ? 'toggle' : 'single'
}

export const useSelectionStore = defineStore('selection', () => {
  const ids = ref<string[]>([])
  /** Where a range begins. */
  const anchor = ref<string>()
  /** The item the keyboard is on. */
  const cursor = ref<string>()

  const only = computed(() => (ids.value.length === 1 ? ids.value[0] : undefined))
  const has = (id: string): boolean => ids.value.includes(id)

  function select(id: string, mode: SelectMode, visible: readonly string[]): void {
    cursor.value = id
    if (mode === 'toggle') {
      ids.value = has(id) ? ids.value.filter((other) => other !== id) : [...ids.value, id]
      anchor.value = id
      return
    }
    const from = anchor.value === undefined ? -1 : visible.indexOf(anchor.value)
    const to = visible.indexOf(id)
    if (mode === 'range' && from >= 0 && to >= 0) {
      ids.value = visible.slice(Math.min(from, to), Math.max(from, to) + 1)
      return
    }
    ids.value = [id]
    anchor.value = id
  }

  /** Moves the cursor by `step` among the visible machines and selects what it lands on. */
  function move(step: number, isExtending: boolean, visible: readonly string[]): void {
    if (visible.length === 0) return
    const at = cursor.value === undefined ? -1 : visible.indexOf(cursor.value)
    const next = at < 0 ? (step > 0 ? 0 : visible.length - 1) : Math.min(visible.length - 1, Math.max(0, at + step))
    select(visible[next], isExtending ? 'range' : 'single', visible)
  }

  function selectAll(visible: readonly string[]): void {
    ids.value = [...visible]
  }

  /** Drops machines that no longer exist. */
  function retain(existing: ReadonlySet<string>): void {
    if (ids.value.every((id) => existing.has(id))) return
    ids.value = ids.value.filter((id) => existing.has(id))
    if (cursor.value !== undefined && !existing.has(cursor.value)) cursor.value = undefined
    if (anchor.value !== undefined && !existing.has(anchor.value)) anchor.value = undefined
  }

  return { ids, cursor, only, has, select, move, selectAll, retain }
})

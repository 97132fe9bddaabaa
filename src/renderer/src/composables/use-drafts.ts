/** What is typed for one source of a new machine is kept while another one is looked at, and never becomes that one's. */
import { computed, reactive, watch, type WritableComputedRef } from 'vue'
import type { MachineSettings } from '../api/types'

export interface Drafts {
  /** Of the present source. */
  readonly settings: WritableComputedRef<MachineSettings>
  /** Whether the present source's settings are others than were suggested. */
  isChanged(): boolean
}

/**
 * Call in a component's setup.
 * @param source names what the machine is made from now
 * @param suggest the settings a draft for that source begins with
 */
export function useDrafts(source: () => string, suggest: () => MachineSettings): Drafts {
  const drafts = reactive(new Map<string, MachineSettings>())
  const suggested = new Map<string, string>()

  function begin(name: string): MachineSettings {
    const first = suggest()
    suggested.set(name, JSON.stringify(first))
    drafts.set(name, first)
    return first
  }

  watch(source, (name) => {
    if (!drafts.has(name)) begin(name)
  }, { immediate: true, flush: 'sync' })

  const settings = computed({
    get: () => drafts.get(source()) ?? begin(source()),
    set: (value) => void drafts.set(source(), value),
  })
  return { settings, isChanged: () => JSON.stringify(settings.value) !== suggested.get(source()) }
}

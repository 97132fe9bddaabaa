/** The machines as the manager reports them. The manager owns the truth; this is its reflection. */
import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import type { Machine } from '../api/types'
import { isActive } from './machine-groups'

export const useMachinesStore = defineStore('machines', () => {
  const byId = shallowRef<ReadonlyMap<string, Machine>>(new Map())
  /** Names of machines that are being made, here or anywhere. */
  const claimed = shallowRef<readonly string[]>([])
  const isLoaded = shallowRef(false)

  const all = computed(() => [...byId.value.values()])
  const active = computed(() => all.value.filter(isActive))
  const names = computed(() => all.value.map((machine) => machine.name))
  /** What the name of the next machine must differ from. */
  const taken = computed(() => [...names.value, ...claimed.value])
  const groups = computed(() => [...new Set(all.value.map((machine) => machine.group).filter(Boolean))].sort())
  const get = (id: string | undefined): Machine | undefined => (id === undefined ? undefined : byId.value.get(id))

  function put(machine: Machine): void {
    byId.value = new Map(byId.value).set(machine.id, machine)
  }

  function drop(id: string): void {
    const next = new Map(byId.value)
    next.delete(id)
    byId.value = next
  }

  async function load(): Promise<void> {
    const [machines, names] = await Promise.all([useApi().machines(), useApi().claimedNames()])
    claimed.value = names
    byId.value = new Map(machines.map((machine) => [machine.id, machine]))
    isLoaded.value = true
  }

  /** Follows the manager's events. */
  function follow(): Stop {
    const stops = [useApi().onMachine(put), useApi().onMachineGone(drop), useApi().onNamesClaimed((names) => (claimed.value = names))]
    return () => stops.forEach((stop) => stop())
  }

  return { all, active, names, taken, groups, isLoaded, get, put, drop, load, follow }
})

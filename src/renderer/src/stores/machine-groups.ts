/** Search, filters and grouping of the machine list: plain functions, so they are easy to test and to trust. */
import type { Machine } from '../api/types'

export interface MachineFilter {
  readonly text: string
  /** All of them must be on the machine. */
  readonly tags: readonly string[]
  readonly isActiveOnly: boolean
}

export interface MachineGroup {
  /** '' for machines without a group. */
  readonly name: string
  readonly machines: readonly Machine[]
}

export const isActive = (machine: Pick<Machine, 'state'>): boolean =>
  ['running', 'paused', 'starting', 'stopping', 'saving', 'restoring'].includes(machine.state)

/** Lower case without accents, so that `resume` finds `Résumé`. */
export const fold = (text: string): string => text.normalize('NFD').replace(/\p{Mn}/gu, '').toLowerCase()

export function filterMachines(machines: readonly Machine[], filter: MachineFilter): Machine[] {
  const words = fold(filter.text).split(/\s+/).filter(Boolean)
  return machines.filter((machine) => {
    if (filter.isActiveOnly && !isActive(machine)) return false
    if (!filter.tags.every((tag) => machine.tags.includes(tag))) return false
    const haystack = fold([machine.name, machine.group, ...machine.tags].join(' '))
    return words.every((word) => haystack.includes(word))
  })
}

/** Groups by name, each sorted as people sort (`web 2` before `web 10`); machines without a group come last. */
export function groupMachines(machines: readonly Machine[], locale: string): MachineGroup[] {
  const collator = new Intl.Collator(locale, { numeric: true, sensitivity: 'base' })
  const byGroup = new Map<string, Machine[]>()
  for (const machine of machines) byGroup.set(machine.group, [...(byGroup.get(machine.group) ?? []), machine])
  return [...byGroup]
    .map(([name, members]) => ({ name, machines: members.sort((a, b) => collator.compare(a.name, b.name)) }))
    .sort((a, b) => (a.name === '' ? 1 : b.name === '' ? -1 : collator.compare(a.name, b.name)))
}

/** Every tag in use, sorted. */
export function allTags(machines: readonly Machine[], locale: string): string[] {
  return [...new Set(machines.flatMap((machine) => machine.tags))].sort(new Intl.Collator(locale).compare)
}

/** Who was made from whom, and whose disks need whom. */
import { phrase, type MachineReference, type Phrase } from '../../../preload/contract'
import { ServiceError } from '../errors'
import type { Library } from '../library'
import type { MachineRecord } from '../types'

/** @param id of the machine it may need */
const referenceOf = (id: string, inTrash: boolean) => ({ id: own, settings, base }: MachineRecord): MachineReference =>
  ({ id: own, name: settings.name, linked: base?.machineId === id, inTrash })

/** Machines made from this one that still are there, also in the trash: from there they can come back. */
export function madeFrom(library: Library, id: string): MachineReference[] {
  const isChild = ({ origin, base }: MachineRecord): boolean => origin?.machineId === id || base?.machineId === id
  return [
    ...library.list().filter(isChild).map(referenceOf(id, false)),
    ...library.trash.records().filter(isChild).map(referenceOf(id, true)),
  ]
}

/** Linked clones whose disks need the machine, or only one snapshot of it. */
export function linkedClonesOf(library: Library, id: string, snapshotId?: string): MachineRecord[] {
  return [...library.list(), ...library.trash.records()]
    .filter(({ base }) => base?.machineId === id && (snapshotId === undefined || base.snapshotId === snapshotId))
}

/** Of a machine's snapshots those that linked clones need, by id. */
export function clonesBySnapshot(library: Library, id: string): ReadonlyMap<string, MachineReference[]> {
  const found = new Map<string, MachineReference[]>()
  for (const clone of linkedClonesOf(library, id)) {
    const snapshotId = clone.base?.snapshotId
    if (snapshotId === undefined) continue
    const reference = referenceOf(id, library.get(clone.id) === undefined)(clone)
    found.set(snapshotId, [...found.get(snapshotId) ?? [], reference])
  }
  return found
}

/**
 * @param what is to go, for people, such as `needed.template`
 * @throws ServiceError has-clones with the machines as details
 */
export function requireNoLinkedClones(library: Library, what: Phrase, id: string, snapshotId?: string): void {
  const clones = linkedClonesOf(library, id, snapshotId)
  if (clones.length === 0) return
  const named = clones.map(({ id: clone, settings: { name } }) => phrase(library.get(clone) ? 'needed.machine' : 'needed.inTrash', { name }))
  const machines = clones.map((clone) => ({ id: clone.id, name: clone.settings.name }))
  throw new ServiceError('has-clones', phrase(named.length === 1 ? 'needed.byClone' : 'needed.byClones', { what, clones: named }), { machines })
}

/** @throws ServiceError wrong-state */
export function requireNoTemplate({ isTemplate, settings }: MachineRecord, whatNot: Phrase): void {
  if (isTemplate) throw new ServiceError('wrong-state', phrase('template.cannot', { name: settings.name, whatNot }))
}

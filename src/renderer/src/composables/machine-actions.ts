/** What can be done to a machine in which state: the one table behind buttons, menus and shortcuts. */
import type { Machine, MachineState } from '../api/types'

export type ActionName =
  | 'start' | 'pause' | 'resume' | 'powerOff' | 'forceStop' | 'reset' | 'suspend' | 'startFresh' | 'discardSaved'
  | 'settings' | 'rename' | 'delete' | 'takeSnapshot' | 'console' | 'log' | 'snapshots' | 'copyId'

const ANY: readonly MachineState[] = ['stopped', 'starting', 'running', 'paused', 'stopping', 'saving', 'saved', 'crashed', 'damaged']
const NOT_DAMAGED = ANY.filter((state) => state !== 'damaged')

const ALLOWED: Readonly<Record<ActionName, readonly MachineState[]>> = {
  start: ['stopped', 'crashed'],
  pause: ['running'],
  // A saved machine goes on from disk.
  resume: ['paused', 'saved'],
  suspend: ['running', 'paused'],
  startFresh: ['saved'],
  discardSaved: ['saved'],
  powerOff: ['running'],
  forceStop: ['starting', 'running', 'paused', 'stopping'],
  reset: ['running', 'paused'],
  takeSnapshot: ['stopped', 'crashed', 'saved', 'running', 'paused'],
  snapshots: NOT_DAMAGED,
  settings: NOT_DAMAGED,
  rename: NOT_DAMAGED,
  delete: ANY,
  console: NOT_DAMAGED,
  log: ANY,
  copyId: ANY,
}

/** Actions on one machine only. */
const SINGLE: ReadonlySet<ActionName> = new Set(['takeSnapshot', 'snapshots', 'settings', 'rename', 'log', 'copyId'])

export const canDo = (action: ActionName, machine: Pick<Machine, 'state'>): boolean => ALLOWED[action].includes(machine.state)

/** Whether an action makes sense for a selection: every single-machine action needs exactly one. */
export function canDoAny(action: ActionName, machines: readonly Pick<Machine, 'state'>[]): boolean {
  if (SINGLE.has(action) && machines.length !== 1) return false
  return machines.some((machine) => canDo(action, machine))
}

export interface MenuEntry {
  readonly action: ActionName
  /** Key of its text. */
  readonly label: string
  readonly keys?: string
  readonly isDangerous?: boolean
}

/** The machine's menu, in groups. Entries that never apply to the state are left out, not greyed: the menu stays short. */
export const MENU: readonly (readonly MenuEntry[])[] = [
  [
    { action: 'start', label: 'action.start', keys: 'Mod+Enter' },
    { action: 'resume', label: 'action.resume', keys: 'Mod+P' },
    { action: 'pause', label: 'action.pause', keys: 'Mod+P' },
    { action: 'suspend', label: 'action.suspend' },
    { action: 'startFresh', label: 'action.startFresh', isDangerous: true },
    { action: 'discardSaved', label: 'action.discardSaved', isDangerous: true },
    { action: 'reset', label: 'action.reset', keys: 'Mod+R' },
    { action: 'powerOff', label: 'action.powerOff', keys: 'Mod+H' },
    { action: 'forceStop', label: 'action.forceStop', keys: 'Mod+Shift+H', isDangerous: true },
  ],
  [
    { action: 'takeSnapshot', label: 'action.takeSnapshot', keys: 'Mod+T' },
  ],
  [
    { action: 'console', label: 'action.console', keys: 'Mod+K' },
    { action: 'snapshots', label: 'action.snapshots', keys: 'Mod+Shift+T' },
    { action: 'log', label: 'action.log', keys: 'Mod+L' },
  ],
  [
    { action: 'settings', label: 'action.settings', keys: 'Mod+S' },
    { action: 'rename', label: 'action.rename', keys: 'F2' },
    { action: 'copyId', label: 'action.copyId' },
  ],
  [{ action: 'delete', label: 'action.delete', keys: 'Delete', isDangerous: true }],
]

export function menuFor(machines: readonly Pick<Machine, 'state'>[]): MenuEntry[][] {
  return MENU.map((group) => group.filter((entry) => canDoAny(entry.action, machines))).filter((group) => group.length > 0)
}

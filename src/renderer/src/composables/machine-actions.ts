/** What can be done to a machine in which state: the one table behind buttons, menus and shortcuts. */
import type { Machine, MachineState } from '../api/types'

export type ActionName =
  | 'start' | 'pause' | 'resume' | 'powerOff' | 'forceStop' | 'reset' | 'suspend' | 'startFresh' | 'discardSaved'
  | 'settings' | 'rename' | 'delete' | 'takeSnapshot' | 'console' | 'log' | 'snapshots' | 'copyId'
  | 'clone' | 'fork' | 'makeTemplate' | 'releaseTemplate' | 'newFromTemplate' | 'export'

const ANY: readonly MachineState[] = ['stopped', 'starting', 'running', 'paused', 'stopping', 'saving', 'restoring', 'saved', 'crashed', 'damaged']
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
  clone: NOT_DAMAGED,
  fork: ['running', 'paused'],
  makeTemplate: ['stopped', 'crashed', 'saved'],
  releaseTemplate: NOT_DAMAGED,
  newFromTemplate: NOT_DAMAGED,
  export: ['stopped', 'crashed', 'saved'],
  delete: ANY,
  console: NOT_DAMAGED,
  log: ANY,
  copyId: ANY,
}

/** Actions on one machine only. */
const SINGLE: ReadonlySet<ActionName> = new Set(['clone', 'fork', 'makeTemplate', 'newFromTemplate', 'export', 'takeSnapshot', 'snapshots', 'settings', 'rename', 'log', 'copyId'])

/** What of it makes sense for a template, which cannot start and does not change. */
const OF_TEMPLATES: ReadonlySet<ActionName> = new Set(
  ['newFromTemplate', 'releaseTemplate', 'clone', 'export', 'settings', 'rename', 'delete', 'log', 'copyId'])
const ONLY_OF_TEMPLATES: ReadonlySet<ActionName> = new Set(['newFromTemplate', 'releaseTemplate'])

export type ActedOn = Pick<Machine, 'state' | 'isTemplate'>

export const canDo = (action: ActionName, { state, isTemplate }: ActedOn): boolean =>
  ALLOWED[action].includes(state) && (isTemplate ? OF_TEMPLATES.has(action) : !ONLY_OF_TEMPLATES.has(action))

/** Whether an action makes sense for a selection: every single-machine action needs exactly one. */
export function canDoAny(action: ActionName, machines: readonly ActedOn[]): boolean {
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
  [{ action: 'newFromTemplate', label: 'action.newFromTemplate' }],
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
    { action: 'clone', label: 'action.clone' },
    { action: 'fork', label: 'action.fork' },
    { action: 'makeTemplate', label: 'action.makeTemplate' },
    { action: 'releaseTemplate', label: 'action.releaseTemplate' },
    { action: 'export', label: 'action.export' },
  ],
  [
    { action: 'settings', label: 'action.settings', keys: 'Mod+S' },
    { action: 'rename', label: 'action.rename', keys: 'F2' },
    { action: 'copyId', label: 'action.copyId' },
  ],
  [{ action: 'delete', label: 'action.delete', keys: 'Delete', isDangerous: true }],
]

export function menuFor(machines: readonly ActedOn[]): MenuEntry[][] {
  return MENU.map((group) => group.filter((entry) => canDoAny(entry.action, machines))).filter((group) => group.length > 0)
}

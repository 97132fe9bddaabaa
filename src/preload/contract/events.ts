/** Every event a client can subscribe to. */
import { z } from 'zod'
import { consoleChunk } from './console'
import { machine, machineFigures, machineId } from './machine'
import { preferences } from './preferences'
import { task } from './task'

/** What the application menu can ask of the window; each is also a key combination in the page. */
export const APP_COMMANDS = [
  'new', 'import', 'search', 'settings', 'rename', 'delete', 'start', 'pauseResume', 'reset', 'powerOff', 'forceStop', 'takeSnapshot', 'console', 'log', 'snapshots', 'overview',
  'consolesSideBySide', 'trash', 'disks', 'tasks', 'preferences', 'help', 'selectAll',
] as const
export const appCommand = z.enum(APP_COMMANDS)
export type AppCommand = z.infer<typeof appCommand>

export const events = {
  /** New or changed in any way. */
  'machine.changed': machine,
  /** Moved to the trash or purged. */
  'machine.removed': z.object({ id: machineId }),
  /** Those of the machines that are being made now. */
  'machine.namesClaimed': z.object({ names: z.array(z.string()) }),
  /** About once a second for each running machine. */
  'machine.figures': z.object({ id: machineId, figures: machineFigures }),
  /** To the client that opened the console only. */
  'console.data': consoleChunk,
  'task.changed': task,
  /** Snapshots of a machine came, went or changed. */
  'snapshot.changed': z.object({ id: machineId }),
  'trash.changed': z.object({}),
  'preferences.changed': preferences,
  /** To one window, from its menu; the manager never sends it. */
  'app.command': z.object({ command: appCommand }),
  /** Made by the transport itself where the connection can be lost. */
  'connection.changed': z.object({ connected: z.boolean() }),
} as const

export type Events = typeof events
export type EventName = keyof Events
export type EventPayload<N extends EventName> = z.output<Events[N]>

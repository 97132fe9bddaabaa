/** Every call and event of the contract: one map types both ends, and validates what crosses. */
import { z } from 'zod'
import {
  catalogImage, consolePort, createSource, figureCounters, hostInfo, logLine, machine, machineSettings, task, trashItem,
} from './payloads'

const id = z.object({ id: z.string() })
const nothing = z.object({}).strict()
const done = z.null()

const call = <P extends z.ZodType, R extends z.ZodType>(params: P, result: R): { params: P; result: R } => ({ params, result })

export const calls = {
  'host.info': call(nothing, hostInfo),

  'vm.list': call(nothing, z.array(machine)),
  /** By id or by name. */
  'vm.get': call(z.object({ ref: z.string() }), machine),
  'vm.create': call(z.object({ source: createSource, settings: machineSettings }), machine),
  /** Hardware settings change only while the machine is stopped: `machine-running` otherwise. */
  'vm.update': call(z.object({ id: z.string(), settings: machineSettings.partial() }), machine),
  'vm.start': call(id, done),
  'vm.pause': call(id, done),
  'vm.resume': call(id, done),
  /** Presses the power button. */
  'vm.powerOff': call(id, done),
  'vm.forceStop': call(id, done),
  'vm.reset': call(id, done),
  /** Last counters of a running machine, null when it is not running. */
  'vm.figures': call(id, figureCounters.nullable()),
  'vm.log': call(z.object({ id: z.string(), lines: z.number().int().min(1).max(10_000).default(500) }), z.array(logLine)),

  'trash.list': call(nothing, z.array(trashItem)),
  /** Moves a stopped machine to the trash; gives its id there. */
  'trash.put': call(id, z.object({ trashId: z.string() })),
  'trash.restore': call(z.object({ trashId: z.string() }), machine),
  'trash.purge': call(z.object({ trashId: z.string() }), done),

  'task.list': call(nothing, z.array(task)),
  'task.cancel': call(id, done),

  'catalog.list': call(nothing, z.array(catalogImage)),

  /** What a console said so far (base64), oldest first, at most 4 MiB. */
  'console.history': call(z.object({ id: z.string(), port: consolePort }), z.object({ data: z.string() })),
  /**
   * Opens a live view: chunks come as `console.chunk` with this subscription's number, history first. At most
   * `windowBytes` are under way unacknowledged.
   */
  'console.attach': call(z.object({ id: z.string(), port: consolePort }), z.object({ subscription: z.number().int() })),
  'console.ack': call(z.object({ subscription: z.number().int(), bytes: z.number().int().min(0) }), done),
  'console.detach': call(z.object({ subscription: z.number().int() }), done),
  /** Keys for the guest, UTF-8. */
  'console.write': call(z.object({ id: z.string(), port: consolePort, text: z.string().max(1 << 20) }), done),
} as const

export type CallName = keyof typeof calls
/** What a caller passes: defaults may be left out. */
export type CallParams<N extends CallName> = z.input<(typeof calls)[N]['params']>
/** What a handler gets: defaults filled in. */
export type HandlerParams<N extends CallName> = z.output<(typeof calls)[N]['params']>
export type CallResult<N extends CallName> = z.output<(typeof calls)[N]['result']>

export const events = {
  'vm.changed': machine,
  'vm.gone': id,
  'vm.figures': z.object({ id: z.string(), counters: figureCounters }),
  'task.changed': task,
  'trash.changed': nothing,
  /** `data` is base64. */
  'console.chunk': z.object({ subscription: z.number().int(), data: z.string() }),
} as const

export type EventName = keyof typeof events
export type EventPayload<N extends EventName> = z.output<(typeof events)[N]>

export const callNames = Object.keys(calls) as CallName[]
export const isCallName = (name: string): name is CallName => Object.hasOwn(calls, name)

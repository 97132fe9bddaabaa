/** Messages between the manager and the process that runs one machine. Sent by Node's IPC with advanced serialisation. */
import { z } from 'zod'
import { CACHE_MODES } from '../host/disks/cache-mode'

export const CONSOLE_PORTS = ['ttyS0', 'hvc0'] as const
const port = z.enum(CONSOLE_PORTS)
export type HostConsolePort = z.infer<typeof port>
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'bytes')

/** A state file, and the folder with the files of its bases: `<id>.nbs`. */
const statePlace = z.object({ path: z.string(), memoryDir: z.string() })
export type StatePlace = z.infer<typeof statePlace>

/** Everything the process needs: paths it opens itself, so that the manager never holds a guest's files. */
export const launchConfig = z.object({
  name: z.string(),
  uuid: z.string(),
  /** Another one than a continued guest has seen tells it that it is a copy. */
  generationId: z.string(),
  memoryMiB: z.number().int(),
  cpuProfile: z.string(),
  kernel: z.string(),
  initrd: z.string(),
  commandLine: z.string(),
  disks: z.array(z.object({
    path: z.string(), format: z.enum(['raw', 'qcow2']), readOnly: z.boolean(), cache: z.enum(CACHE_MODES).optional(), queues: z.number().int().optional(),
    /** The image at `path` is not there yet: it is being made as a copy of this one, which never changes. `disks-there` says when it is. */
    madeFrom: z.string().optional(),
  })),
  onReset: z.enum(['reboot', 'stop']),
  maxTier: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  /** Folder for crash reports. */
  logDir: z.string(),
  /** Folder of translations that the user's machines share; none are kept without it. */
  translationsDir: z.string().optional(),
  /** Folder of what guests needed first after they were continued, which the machines share; nothing is noted without it. */
  workingSetsDir: z.string().optional(),
  /**
   * A state the machine was saved in. `resume`: continue from it, it is used up; `restore`: continue from it, it stays;
   * `discard`: boot afresh, it is gone once the guest runs.
   */
  savedState: statePlace.extend({ use: z.enum(['resume', 'restore', 'discard']) }).optional(),
})
export type LaunchConfig = z.infer<typeof launchConfig>

export const toHost = z.discriminatedUnion('type', [
  /**
   * Of a machine that will be launched and goes on from the state named here (which may have another name by then): what does not
   * need its disks is made now. `images`: one for each disk, of the same shape. With `wholeState` all of the state's memory is read
   * and checked first. Answered by `prepared` or `not-prepared`.
   */
  z.object({ type: z.literal('prepare'), config: launchConfig, images: z.array(z.string()), wholeState: z.boolean() }),
  z.object({ type: z.literal('launch'), config: launchConfig }),
  z.object({ type: z.literal('disks-there') }),
  z.object({ type: z.literal('pause') }),
  z.object({ type: z.literal('resume') }),
  z.object({ type: z.literal('reset') }),
  z.object({ type: z.literal('power-button') }),
  z.object({ type: z.literal('stop') }),
  /** Writes the machine's state to `path`; then it goes on, ends as `suspended`, or stands until `thaw` or `stop`. Answered by `saved` or `save-failed`. */
  z.object({
    type: z.literal('save'), path: z.string(), then: z.enum(['go-on', 'end', 'hold']),
    /** Images to copy as they are at the same instant. */
    copies: z.array(z.object({ from: z.string(), to: z.string() })),
    /** The state is used at once and only once. */
    quick: z.boolean().optional(),
    /** The state may leave out what this one holds, where the machine's memory was last stored there. */
    base: statePlace.optional(),
  }),
  z.object({ type: z.literal('cancel-save') }),
  z.object({ type: z.literal('thaw') }),
  z.object({ type: z.literal('input'), port, bytes }),
  /** Answered by `hot-blocks` with the same number. */
  z.object({ type: z.literal('inspect'), request: z.number().int(), count: z.number().int().positive() }),
  /** Answered by `wasm` with the same number. */
  z.object({ type: z.literal('show-wasm'), request: z.number().int(), address: z.bigint(), modeKey: z.number().int() }),
  /** The manager has stored this much of what a console said. */
  z.object({ type: z.literal('ack'), port, count: z.number().int().nonnegative() }),
])
export type ToHost = z.infer<typeof toHost>

const translationFigures = z.object({
  blocks: z.number(), regions: z.number(), modules: z.number(), wasmBytes: z.number(), translateNs: z.number(), compileNs: z.number(), adopted: z.number(),
})

export const hostFigures = z.object({
  instructions: z.number(),
  guestRunNs: z.number(),
  idleNs: z.number(),
  /** Host time by tier (`t0` … `t2`), sampled; `host`: translating and compiling. */
  tierNs: z.record(z.string(), z.number()),
  /** Sampled like `tierNs`: host time by privilege level (`ring0` …) and by CPU mode, translation not counted. */
  ringNs: z.record(z.string(), z.number()),
  modeNs: z.record(z.string(), z.number()),
  samples: z.number(),
  exceptions: z.number(),
  tlbMisses: z.number(),
  blocksDecoded: z.number(),
  codeInvalidations: z.number(),
  translations: translationFigures,
  interrupts: z.number(),
  exits: z.record(z.string(), z.number()),
  readBytes: z.number(),
  writtenBytes: z.number(),
  residentGuestBytes: z.number(),
  processBytes: z.number(),
  processCpuSeconds: z.number(),
  unimplemented: z.record(z.string(), z.number()),
})
export type HostFigures = z.infer<typeof hostFigures>

export const stopReason = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('power-off') }),
  z.object({ kind: z.literal('reset') }),
  z.object({ kind: z.literal('suspended') }),
  z.object({ kind: z.literal('triple-fault'), detail: z.string() }),
  z.object({ kind: z.literal('error'), code: z.string(), message: z.string() }),
])

/** Why a machine's process ended in order. */
export type HostStop = z.infer<typeof stopReason>

const saveFigures = z.object({
  /** How long the guest stood; of a machine that ended with the save, until its memory was captured. */
  pauseMs: z.number(),
  ms: z.number(),
  fileBytes: z.number(),
  memoryBytes: z.number(),
  copiedPages: z.number(),
})
export type SaveFigures = z.infer<typeof saveFigures>

/** The guest stands because a disk of its found no room on the host, or its memory cannot be loaded; `resume` tries again. */
export const stalled = z.object({ cause: z.enum(['disk-full', 'memory']), path: z.string(), message: z.string(), details: z.unknown().optional() })
export type Stalled = z.infer<typeof stalled>

const hotBlock = z.object({
  address: z.bigint(), modeKey: z.number(), mode: z.string(), cpl: z.number(), tier: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  samples: z.number(), ns: z.number(), lines: z.array(z.object({ address: z.bigint(), bytes: z.string(), text: z.string() })),
})
export type HostHotBlock = z.infer<typeof hotBlock>

export const fromHost = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ready') }),
  /** The machine is built: it will run once it is launched. */
  z.object({ type: z.literal('prepared') }),
  /** As `refused`, of what `prepare` began; a launch tries once more. */
  z.object({ type: z.literal('not-prepared'), code: z.string(), message: z.string(), details: z.unknown().optional() }),
  /** `restoredMs`: from the launch message to the first slice of a machine that was continued. */
  z.object({ type: z.literal('running'), restoredMs: z.number().optional() }),
  /** Could not be started: code of a VmmError, message for people. */
  z.object({ type: z.literal('refused'), code: z.string(), message: z.string(), details: z.unknown().optional() }),
  /** `state`: where the CPU is, for people: what is known of a process that says nothing more. */
  z.object({ type: z.literal('heartbeat'), paused: z.boolean(), figures: hostFigures, state: z.string(), stalled: stalled.optional() }),
  z.object({ type: z.literal('output'), port, bytes }),
  /** `part`: of the machine, that says it. `details`: as of a `Note`, where it is a message of ours. */
  z.object({
    type: z.literal('log'), level: z.enum(['debug', 'info', 'warn', 'error']), text: z.string(), part: z.string().optional(), details: z.unknown().optional(),
  }),
  z.object({ type: z.literal('hot-blocks'), request: z.number().int(), blocks: z.array(hotBlock) }),
  /** null: the block is interpreted, or gone. */
  z.object({ type: z.literal('wasm'), request: z.number().int(), text: z.string().nullable() }),
  z.object({ type: z.literal('save-progress'), fraction: z.number() }),
  z.object({ type: z.literal('saved'), path: z.string(), figures: saveFigures }),
  z.object({ type: z.literal('save-failed'), code: z.string(), message: z.string(), details: z.unknown().optional() }),
  z.object({ type: z.literal('stopped'), reason: stopReason, report: z.string().optional() }),
])
export type FromHost = z.infer<typeof fromHost>

/** Between two heartbeats. */
export const HEARTBEAT_MS = 500
/** Without one for this long the process counts as hung. */
export const HUNG_AFTER_MS = 8000
/** Unacknowledged console bytes at which the guest is held, and below which it goes on. */
export const HOLD_ABOVE_BYTES = 1 << 20
export const RELEASE_BELOW_BYTES = 1 << 18

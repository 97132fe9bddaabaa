/** Machines: their configuration, state and figures. */
import { z } from 'zod'
import { LIMITS } from './limits'
import { phraseSchema, said } from './phrase'

/** Letters, digits, spaces and `- _ . ( ) +`; not starting with a sign, so that a name is never taken for a CLI option. */
export const NAME_PATTERN = /^[\p{L}\p{N}][\p{L}\p{N} ._()+-]*$/u

export const machineName = z.string().trim().min(1).max(LIMITS.nameLength).regex(NAME_PATTERN)
export const machineId = z.string().uuid()

/** `saving`: its state is written and it ends then. `restoring`: it stands while a snapshot takes its place. */
export const machineState = z.enum(['stopped', 'starting', 'running', 'paused', 'stopping', 'saving', 'restoring', 'saved', 'crashed', 'damaged'])
export type MachineState = z.infer<typeof machineState>

export const diskFormat = z.enum(['raw', 'qcow2'])
/** How a disk uses the host's cache; docs/cli.md says what each promises. */
export const diskCache = z.enum(['writeback', 'writethrough', 'none', 'directsync', 'unsafe'])
export type DiskCache = z.infer<typeof diskCache>
export const diskSettings = z.object({
  /** Absolute path on the host. */
  path: z.string().min(1).max(4096),
  format: diskFormat,
  readOnly: z.boolean(),
  /** `writeback` unless given. */
  cache: diskCache.optional(),
  /** Request queues; one for each CPU of the guest unless given. */
  queues: z.number().int().min(1).max(LIMITS.diskQueues).optional(),
})
export type DiskSettings = z.infer<typeof diskSettings>

export const machineSettings = z.object({
  name: machineName,
  /** '' for none; `a/b` is a group in a group. */
  group: z.string().max(128),
  tags: z.array(z.string().min(1).max(LIMITS.tagLength)).max(LIMITS.tags),
  notes: z.string().max(LIMITS.notesLength),
  memoryMiB: z.number().int().min(LIMITS.memoryMinMiB).max(LIMITS.memoryMaxMiB),
  cpuProfile: z.string().min(1),
  /** Absolute path on the host. */
  kernel: z.string().max(4096),
  /** '' for none. */
  initrd: z.string().max(4096),
  commandLine: z.string().max(2047),
  disks: z.array(diskSettings).max(LIMITS.disks),
  /** What a guest's restart does. */
  onReset: z.enum(['reboot', 'stop']),
  /** Highest tier of the CPU engine. */
  maxTier: z.union([z.literal(0), z.literal(1), z.literal(2)]),
})
export type MachineSettings = z.infer<typeof machineSettings>

/** Where a machine came from. */
export const machineOrigin = z.object({
  kind: z.enum(['clone', 'fork', 'template']),
  machineId,
  /** What that machine was called then. */
  name: z.string(),
  /** The snapshot it was made from. */
  snapshotId: z.string().uuid().optional(),
  /** Its disks hold only what differs: it needs the machine it came from. */
  linked: z.boolean(),
})
export type MachineOrigin = z.infer<typeof machineOrigin>

/** A machine in the trash that is asked after is one too: it could come back. */
export const machineReference = z.object({ id: machineId, name: z.string(), linked: z.boolean(), inTrash: z.boolean() })
export type MachineReference = z.infer<typeof machineReference>

export const machine = machineSettings.extend({
  id: machineId,
  state: machineState,
  /** Why it is crashed or damaged, or paused without anybody having asked for it; for people. */
  problem: said.optional(),
  /** What a machine that paused by itself needs before `machine.resume`: room for this file of a disk on the host. */
  waitsFor: z.object({ kind: z.literal('host-disk'), path: z.string() }).optional(),
  /** Of the machine's process while it runs. */
  pid: z.number().int().optional(),
  /** ISO 8601. */
  createdAt: z.string().optional(),
  startedAt: z.string().optional(),
  /** Read-only, cannot start; new machines are made from it. A `saved` template makes machines that go on from its state. */
  isTemplate: z.boolean().optional(),
  origin: machineOrigin.optional(),
})
export type Machine = z.infer<typeof machine>

/** What the CPU translated to WebAssembly in this run; `adopted`: blocks that began with a translation of an earlier one. */
const translationFigures = z.object({
  blocks: z.number(), regions: z.number(), modules: z.number(), wasmBytes: z.number(), translateNs: z.number(), compileNs: z.number(), adopted: z.number(),
})

/** Counters since power-on; rates are made by who shows them. */
export const machineFigures = z.object({
  /** Milliseconds of a monotonic clock. */
  timeMs: z.number(),
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
  /** Resident memory of the machine's process; 0 where the host cannot say. */
  processBytes: z.number(),
  /** CPU time of the machine's process in seconds. */
  processCpuSeconds: z.number(),
  /** Mnemonics that raised #UD because they are not implemented, with counts. */
  unimplemented: z.record(z.string(), z.number()),
})
export type MachineFigures = z.infer<typeof machineFigures>

/** Address of guest code: `0x` and hexadecimal digits. */
export const codeAddress = z.string().regex(/^0x[0-9a-f]{1,16}$/)

/** Guest code that took time, as the profile's samples tell it. */
export const hotBlock = z.object({
  /** Linear address of its first instruction. */
  address: codeAddress,
  /** Names the mode the code was decoded for; with the address it names the block. */
  modeKey: z.number().int(),
  /** `real`, `protected-32`, `long-64` … */
  mode: z.string(),
  /** Privilege level, 0…3. */
  ring: z.number().int(),
  /** Tier that ran it at the newest sample. */
  tier: z.number().int(),
  samples: z.number(),
  /** Host time its samples stand for, since power-on. */
  ns: z.number(),
  /** Its instructions; `bytes` in hexadecimal. Empty where the code was not in memory. */
  lines: z.array(z.object({ address: codeAddress, bytes: z.string(), text: z.string() })),
})
export type HotBlock = z.infer<typeof hotBlock>

/** What saving a running machine took. */
export const saveFigures = z.object({
  /** How long the guest stood until its memory was captured. */
  pauseMs: z.number(),
  ms: z.number(),
  fileBytes: z.number(),
  /** Guest memory in the file, before compression. */
  memoryBytes: z.number(),
})
export type SaveFigures = z.infer<typeof saveFigures>

export const logLine = z.object({
  /** ISO 8601. */
  time: z.string(),
  level: z.enum(['debug', 'info', 'warn', 'error']),
  /** In English. */
  text: z.string(),
  /** The same to be said in other languages; not of lines of another version. */
  phrase: phraseSchema.optional().catch(undefined),
})
export type LogLine = z.infer<typeof logLine>

export const trashItem = z.object({
  id: z.string().min(1),
  machineId,
  name: z.string(),
  /** ISO 8601. */
  deletedAt: z.string(),
  sizeBytes: z.number().optional(),
})
export type TrashItem = z.infer<typeof trashItem>

/** What travels between the manager and its faces: window, browser, command line. Imports zod only. */
import { z } from 'zod'

/** Names may hold spaces and letters of any language, but nothing that means something to a shell or a path. */
export const machineName = z.string().trim().min(1).max(80).regex(/^[^/\\\0\n\r]+$/, 'a name has no slashes and no line breaks')
  .refine((name) => !name.startsWith('.') && !name.startsWith('-'), 'a name does not begin with a dot or a dash')

export const machineState = z.enum(['stopped', 'starting', 'running', 'paused', 'stopping', 'crashed', 'broken'])
export type MachineState = z.infer<typeof machineState>

export const diskSettings = z.object({
  path: z.string().min(1),
  format: z.enum(['raw', 'qcow2']),
  readOnly: z.boolean(),
})

/** What a person sets. Defaults make a machine of a name, a kernel and nothing else. */
export const machineSettings = z.object({
  name: machineName,
  /** '' for none; `a/b` is a group in a group. */
  group: z.string().max(200).default(''),
  tags: z.array(z.string().trim().min(1).max(40)).max(40).default([]),
  notes: z.string().max(20_000).default(''),
  memoryMiB: z.number().int().min(16).max(3072).default(512),
  cpuProfile: z.string().min(1).default('nestbox64'),
  kernel: z.string().default(''),
  /** '' for none. */
  initrd: z.string().default(''),
  commandLine: z.string().max(4000).default('console=ttyS0'),
  disks: z.array(diskSettings).max(16).default([]),
  onReset: z.enum(['reboot', 'stop']).default('reboot'),
  maxTier: z.union([z.literal(0), z.literal(1), z.literal(2)]).default(2),
})
export type MachineSettings = z.infer<typeof machineSettings>

export const machine = machineSettings.extend({
  id: z.string(),
  state: machineState,
  /** Why it is crashed or broken. */
  problem: z.string().optional(),
  pid: z.number().int().optional(),
  /** ISO 8601. */
  createdAt: z.string().optional(),
  startedAt: z.string().optional(),
})
export type MachineInfo = z.infer<typeof machine>

/** How a new machine gets its kernel. */
export const createSource = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('starter') }),
  z.object({ kind: z.literal('image'), imageId: z.string() }),
  z.object({ kind: z.literal('kernel') }),
])
export type CreateSource = z.infer<typeof createSource>

export const consolePort = z.enum(['ttyS0', 'hvc0'])
export type ConsolePort = z.infer<typeof consolePort>

export const trashItem = z.object({ id: z.string(), name: z.string(), deletedAt: z.string(), sizeBytes: z.number().optional() })
export type TrashItem = z.infer<typeof trashItem>

export const taskState = z.enum(['queued', 'running', 'done', 'failed', 'cancelled'])
export const task = z.object({
  id: z.string(),
  title: z.string(),
  state: taskState,
  /** 0…1; absent: not known. */
  progress: z.number().min(0).max(1).optional(),
  detail: z.string().optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
  isCancellable: z.boolean(),
})
export type TaskInfo = z.infer<typeof task>

export const catalogImage = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string(),
  isReady: z.boolean(),
  /** Why it cannot be used here. */
  unavailable: z.string().optional(),
  isStarter: z.boolean(),
  sizeBytes: z.number().optional(),
})
export type CatalogImage = z.infer<typeof catalogImage>

export const logLine = z.object({ time: z.string(), level: z.enum(['debug', 'info', 'warn', 'error']), text: z.string() })
export type LogLine = z.infer<typeof logLine>

export const hostInfo = z.object({ version: z.string(), libraryPath: z.string(), cpuProfiles: z.array(z.string()) })
export type HostInfo = z.infer<typeof hostInfo>

/** Counters of one machine at one moment; they only grow while it runs. */
export const figureCounters = z.object({
  timeMs: z.number(),
  instructions: z.number(),
  guestRunNs: z.number(),
  interrupts: z.number(),
  readBytes: z.number(),
  writtenBytes: z.number(),
  exits: z.record(z.string(), z.number()),
  residentGuestBytes: z.number(),
  processBytes: z.number(),
  /** 0…1 of one core, as the host counts it. */
  cpuShare: z.number().optional(),
})
export type FigureCounters = z.infer<typeof figureCounters>

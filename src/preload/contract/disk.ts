/** Disk images: what they are, what they lie over, and making new ones. */
import { z } from 'zod'
import { machineId } from './machine'
import { said } from './phrase'

export const imageFormat = z.enum(['raw', 'qcow2', 'vdi', 'vmdk', 'vhd', 'vhdx'])
export type ImageFormat = z.infer<typeof imageFormat>

export const diskLayer = z.object({
  /** Absolute. */
  path: z.string(),
  /** Absent where the file cannot be read. */
  format: imageFormat.optional(),
  /** As the guest sees it. */
  sizeBytes: z.number().optional(),
  /** What the file takes on this computer; holes take nothing. */
  storedBytes: z.number().optional(),
  /** Why it cannot be used, for people. */
  problem: said.optional(),
})
export type DiskLayer = z.infer<typeof diskLayer>

export const diskCheck = z.object({
  /** Places where data is damaged, or will be by writing. */
  corruptions: z.number(),
  /** What nothing uses and is not free. */
  wastedBytes: z.number(),
  /** The first of the corruptions, for people. */
  problems: z.array(z.string()),
})
export type DiskCheck = z.infer<typeof diskCheck>

export const diskCompacted = z.object({
  /** Bytes the file took on this computer, and takes now. */
  before: z.number(),
  after: z.number(),
})
export type DiskCompacted = z.infer<typeof diskCompacted>

export const disk = z.object({
  path: z.string(),
  /** The image itself, then what it lies over, down to the base. */
  layers: z.array(diskLayer).min(1),
  usedBy: z.array(z.object({ machineId, name: z.string(), readOnly: z.boolean() })),
})
export type Disk = z.infer<typeof disk>

/** Snapshots: named points a machine can go back to. */
import { z } from 'zod'
import { LIMITS } from './limits'
import { machineReference, NAME_PATTERN } from './machine'
import { said } from './phrase'

export const snapshotName = z.string().trim().min(1).max(LIMITS.snapshotNameLength).regex(NAME_PATTERN)
export const snapshotNotes = z.string().max(LIMITS.notesLength)

export const snapshot = z.object({
  id: z.string().uuid(),
  name: z.string(),
  notes: z.string(),
  /** ISO 8601. */
  createdAt: z.string(),
  /** The snapshot it descends from. */
  parent: z.string().uuid().nullable(),
  /** `undo`: what was there before a snapshot was restored. */
  kind: z.enum(['user', 'undo']),
  /** With memory: restored, the machine goes on where it was. */
  hasState: z.boolean(),
  memoryMiB: z.number(),
  /** On disk. */
  bytes: z.number(),
  /** What its console showed then, as plain text. */
  screen: z.string().optional(),
  /** Linked clones whose disks are laid over its own: it cannot be deleted before them. Absent where there are none. */
  neededBy: z.array(machineReference).optional(),
})
export type Snapshot = z.infer<typeof snapshot>

/** A folder of a snapshot whose record cannot be used: it can be deleted, and what it holds rescued by hand. */
export const damagedSnapshot = z.object({
  /** Name of the folder; the snapshot's own id. */
  id: z.string(),
  problem: said,
})
export type DamagedSnapshot = z.infer<typeof damagedSnapshot>

export const snapshotTree = z.object({
  /** The snapshot the present descends from. */
  current: z.string().uuid().nullable(),
  /** Oldest first. */
  snapshots: z.array(snapshot),
  /** Absent where there are none. */
  damaged: z.array(damagedSnapshot).optional(),
})
export type SnapshotTree = z.infer<typeof snapshotTree>

/** Work that takes time, and the images that need such work. */
import { z } from 'zod'
import { wireError } from './errors'
import { said } from './phrase'

export const taskState = z.enum(['queued', 'running', 'done', 'failed', 'cancelled'])

export const task = z.object({
  id: z.string(),
  /** What it does, as an identifier the interface can translate, such as `image.starter` or `image.download`. */
  kind: z.string(),
  /** What it is about, such as an image's name. */
  subject: z.string(),
  state: taskState,
  /** 0…1; absent while unknown. */
  progress: z.number().min(0).max(1).optional(),
  /** What is happening now: a phrase, or a file's name. */
  detail: said.optional(),
  error: wireError.optional(),
  cancellable: z.boolean(),
})
export type Task = z.infer<typeof task>

export const STARTER_IMAGE = 'starter'

export const image = z.object({
  id: z.string(),
  name: z.string(),
  description: said,
  /** Already on this computer. */
  ready: z.boolean(),
  /** Why it cannot be had here. */
  unavailable: said.optional(),
  sizeBytes: z.number().optional(),
  /** Hex; absent for images built here. */
  sha256: z.string().optional(),
})
export type Image = z.infer<typeof image>

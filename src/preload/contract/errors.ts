/** Errors as they cross every transport: a code scripts can rely on, a message for people, details for the curious. */
import { z } from 'zod'
import { phraseSchema } from './phrase'

export const ERROR_CODES = [
  'invalid-argument', 'not-found', 'name-taken', 'wrong-state', 'machine-busy', 'has-clones', 'machine-damaged', 'machine-crashed',
  'library-locked',
  'library-read-only', 'disk-full', 'file-missing', 'file-unreadable', 'bad-kernel', 'bad-disk', 'bad-archive', 'not-enough-memory', 'image-unavailable',
  'state-mismatch', 'state-damaged', 'download-failed', 'checksum-mismatch', 'cancelled', 'unauthorized', 'disconnected', 'unsupported', 'internal',
] as const

export const errorCode = z.enum(ERROR_CODES)
export type ErrorCode = z.infer<typeof errorCode>

export const wireError = z.object({
  code: errorCode,
  /** In English. */
  message: z.string(),
  /** The message for other languages; absent where it is somebody else's, such as the system's. */
  phrase: phraseSchema.optional().catch(undefined),
  details: z.unknown().optional(),
})
export type WireError = z.infer<typeof wireError>

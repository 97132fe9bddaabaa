/** Consoles: text travels in chunks; who reads acknowledges what it has shown, so that a flooding guest is held back. */
import { z } from 'zod'
import { machineId } from './machine'

export const consolePort = z.enum(['ttyS0', 'hvc0'])
export type ConsolePort = z.infer<typeof consolePort>

/** At most this many bytes are sent ahead of the reader's acknowledgements. */
export const CONSOLE_WINDOW_BYTES = 256 * 1024

export const consoleChunk = z.object({
  /** From `console.open`. */
  consoleId: z.string(),
  machineId,
  port: consolePort,
  /** UTF-8 text; a sequence cut at a chunk's end is completed by the next chunk, never replaced. */
  text: z.string(),
  /** How many bytes the chunk stands for: the number to acknowledge. */
  bytes: z.number().int(),
})
export type ConsoleChunk = z.infer<typeof consoleChunk>

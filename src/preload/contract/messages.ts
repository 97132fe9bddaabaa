/** Frames of the message transports (socket, WebSocket): JSON, one a message. */
import { z } from 'zod'
import { wireError } from './errors'

/** Client to manager. */
export const request = z.object({ id: z.number().int(), call: z.string(), params: z.unknown() })
export type Request = z.infer<typeof request>

/** Manager to client: an answer, or an event. */
export const reply = z.union([
  z.object({ id: z.number().int(), result: z.unknown() }),
  z.object({ id: z.number().int(), error: wireError }),
  z.object({ event: z.string(), payload: z.unknown() }),
])
export type Reply = z.infer<typeof reply>

/** The bridge the preload puts on `window.nestbox`. */
export interface NestboxBridge {
  call(name: string, params: unknown): Promise<{ ok: true; result: unknown } | { ok: false; error: z.infer<typeof wireError> }>
  on(handler: (event: string, payload: unknown) => void): () => void
}

/** Electron channels. */
export const Channel = { CALL: 'nestbox:call', EVENT: 'nestbox:event' } as const

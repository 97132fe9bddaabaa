/** How calls and events look on each transport. */
import { z } from 'zod'
import type { CallName, CallParams, CallResult } from './calls'
import { wireError, type WireError } from './errors'
import type { EventName, EventPayload } from './events'

/** What `window.nestbox` offers, and what a transport over a WebSocket offers alike. */
export interface NestboxBridge {
  /** Never rejects for the manager's reasons: errors are values, because Electron would keep only their message. */
  call<N extends CallName>(name: N, params: CallParams<N>): Promise<CallOutcome<N>>
  /** @returns ends the subscription */
  subscribe<N extends EventName>(name: N, handler: (payload: EventPayload<N>) => void): () => void
}

export type CallOutcome<N extends CallName> = { ok: true; result: CallResult<N> } | { ok: false; error: WireError }

/** WebSocket and local socket: one JSON object per message (per line on the socket). */
export const requestFrame = z.object({ id: z.number().int(), call: z.string(), params: z.unknown() })
export const replyFrame = z.union([
  z.object({ id: z.number().int(), ok: z.literal(true), result: z.unknown().optional() }),
  z.object({ id: z.number().int(), ok: z.literal(false), error: wireError }),
])
export const eventFrame = z.object({ event: z.string(), payload: z.unknown() })
export type RequestFrame = z.infer<typeof requestFrame>
export type ReplyFrame = z.infer<typeof replyFrame>
export type EventFrame = z.infer<typeof eventFrame>

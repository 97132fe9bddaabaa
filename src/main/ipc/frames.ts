/** Requests and replies as text, the same on the local socket and the WebSocket. */
import { requestFrame, type EventName, type EventPayload, type ReplyFrame } from '../../preload/contract'
import type { ManagerClient, Outcome } from './endpoint'

/** Longest request a client may send, in characters: a pasted text is at most a million. */
export const MAX_REQUEST_LENGTH = 8 << 20
/** A client that leaves this much unread is cut off: what it does not take would fill the manager's memory. */
export const MAX_BACKLOG_BYTES = 32 << 20
/** With this much unread, figures are left out: the next ones say the same and more. */
export const SKIP_FIGURES_BYTES = 1 << 20

export const eventText = <N extends EventName>(event: N, payload: EventPayload<N>): string => JSON.stringify({ event, payload })

function replyOf(id: number, outcome: Outcome): ReplyFrame {
  return outcome.ok ? { id, ok: true, result: outcome.result } : { id, ok: false, error: outcome.error }
}

/** The reply to one request; undefined where the text is no request at all, and the client no client of ours. */
export async function answerRequest(client: ManagerClient, text: string): Promise<string | undefined> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return undefined
  }
  const request = requestFrame.safeParse(json)
  if (!request.success) return undefined
  const { id, call, params } = request.data
  return JSON.stringify(replyOf(id, await client.call(call, params)))
}

/** What every transport talks to: the manager, seen as calls that answer and events that come. */
import type { CallOutcome, CallName, EventName, EventPayload } from '../../preload/contract'

/** Hands one event to one client. */
export type Emit = <N extends EventName>(name: N, payload: EventPayload<N>) => void

/** One client's conversation: its consoles and subscriptions end with it. */
export interface Session {
  /** Checks name and parameters; errors are values. Never rejects. */
  call(name: string, params: unknown): Promise<CallOutcome<CallName>>
  close(): void
}

export interface Endpoint {
  /** A client came. `emit` may be called at any time until the session is closed. */
  open(emit: Emit): Session
}

/** The other end of the local socket: the command line, and an app that joins a manager that runs already. */
import { connect, type Socket } from 'node:net'
import {
  eventFrame, replyFrame, type CallName, type CallParams, type CallResult, type EventName, type EventPayload,
} from '../../preload/contract'
import { phrase } from '../../preload/contract'
import { ServiceError } from '../services/errors'
import type { Outcome } from './endpoint'
import { LineReader } from './line-reader'

/** A reply may hold all a console ever said. */
const MAX_REPLY_BYTES = 128 << 20

type AnyHandler = (name: EventName, payload: unknown) => void

export class LocalClient {
  private nextId = 1
  private readonly waiting = new Map<number, (outcome: Outcome) => void>()
  private readonly handlers = new Set<AnyHandler>()
  private isClosed = false
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>

  private constructor(private readonly socket: Socket) {
    const reader = new LineReader(MAX_REPLY_BYTES, (text) => this.receive(text), () => socket.destroy())
    socket.on('data', (chunk: Buffer) => reader.push(chunk))
    socket.on('error', () => socket.destroy())
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.dropped()
        resolve()
      })
    })
  }

  /** @throws ServiceError disconnected where nobody listens at `path` */
  static connect(path: string): Promise<LocalClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path)
      const fail = (error: Error): void => reject(new ServiceError('disconnected', phrase('call.noManager', { path, detail: error.message }), { path }))
      socket.once('error', fail)
      socket.once('connect', () => {
        socket.off('error', fail)
        resolve(new LocalClient(socket))
      })
    })
  }

  private receive(text: string): void {
    let json: unknown
    try {
      json = JSON.parse(text)
    } catch {
      this.socket.destroy()
      return
    }
    const reply = replyFrame.safeParse(json)
    if (reply.success) {
      const { id, ...outcome } = reply.data
      return this.settle(id, outcome as Outcome)
    }
    const event = eventFrame.safeParse(json)
    if (event.success) for (const handler of [...this.handlers]) handler(event.data.event as EventName, event.data.payload)
  }

  private settle(id: number, outcome: Outcome): void {
    this.waiting.get(id)?.(outcome)
    this.waiting.delete(id)
  }

  private dropped(): void {
    this.isClosed = true
    const error = { code: 'disconnected' as const, message: 'The manager is gone: the connection was lost.' }
    for (const id of [...this.waiting.keys()]) this.settle(id, { ok: false, error })
  }

  /** The outcome as it came; never rejects. */
  request(name: string, params: unknown): Promise<Outcome> {
    if (this.isClosed) return Promise.resolve({ ok: false, error: { code: 'disconnected', message: 'The manager is gone.' } })
    const id = this.nextId++
    return new Promise((resolve) => {
      this.waiting.set(id, resolve)
      this.socket.write(`${JSON.stringify({ id, call: name, params })}\n`)
    })
  }

  /** @throws ServiceError as the manager said it */
  async call<N extends CallName>(name: N, params: CallParams<N>): Promise<CallResult<N>> {
    const outcome = await this.request(name, params)
    if (!outcome.ok) throw ServiceError.fromWire(outcome.error)
    return outcome.result as CallResult<N>
  }

  /** @returns ends the subscription */
  onAny(handler: AnyHandler): () => void {
    this.handlers.add(handler)
    return () => void this.handlers.delete(handler)
  }

  subscribe<N extends EventName>(name: N, handler: (payload: EventPayload<N>) => void): () => void {
    return this.onAny((event, payload) => {
      if (event === name) handler(payload as EventPayload<N>)
    })
  }

  close(): void {
    this.socket.destroy()
  }
}

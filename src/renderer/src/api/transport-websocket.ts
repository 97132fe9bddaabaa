/** The contract over a WebSocket, for the page that `nestbox serve` gives to a browser. Connects again by itself when the line drops. */
import {
  eventFrame, replyFrame, TOKEN_PROTOCOL_PREFIX, WEBSOCKET_PATH, WEBSOCKET_PROTOCOL,
  type CallName, type CallOutcome, type EventName, type EventPayload, type NestboxBridge, type RequestFrame, type WireError,
} from '@contract/index'

const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 10_000
const TOKEN_KEY = 'nestbox.token'

type Reply = { ok: true; result: unknown } | { ok: false; error: WireError }
type AnyHandler = (payload: unknown) => void

/** As `nestbox serve` makes them. What else an address may end with is no token, and no name of a protocol. */
const TOKEN = /^[\w-]+$/

/** The token from the address, which is then wiped so that it is in no history and no screenshot; kept for reloads of this tab. */
export function takeToken(): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get('token')
  const token = given !== null && TOKEN.test(given) ? given : undefined
  if (token) {
    sessionStorage.setItem(TOKEN_KEY, token)
    history.replaceState(null, '', location.pathname + location.search)
  }
  return token ?? sessionStorage.getItem(TOKEN_KEY) ?? undefined
}

export class WebSocketBridge implements NestboxBridge {
  private socket: WebSocket | undefined
  private nextId = 1
  private retryMs = FIRST_RETRY_MS
  private isClosed = false
  private readonly waiting = new Map<number, (reply: Reply) => void>()
  /** Calls made before the line was up. */
  private readonly unsent: string[] = []
  private readonly handlers = new Map<string, Set<AnyHandler>>()

  constructor(private readonly address: string, private readonly token: string) {
    this.connect()
  }

  static fromPage(token: string): WebSocketBridge {
    return new WebSocketBridge(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${WEBSOCKET_PATH}`, token)
  }

  call<N extends CallName>(name: N, params: unknown): Promise<CallOutcome<N>> {
    const id = this.nextId++
    const frame: RequestFrame = { id, call: name, params }
    const text = JSON.stringify(frame)
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text)
    else this.unsent.push(text)
    return new Promise((resolve) => {
      this.waiting.set(id, (reply) => resolve(reply as CallOutcome<N>))
    })
  }

  subscribe<N extends EventName>(name: N, handler: (payload: EventPayload<N>) => void): () => void {
    const set = this.handlers.get(name) ?? new Set<AnyHandler>()
    this.handlers.set(name, set.add(handler as AnyHandler))
    return () => set.delete(handler as AnyHandler)
  }

  close(): void {
    this.isClosed = true
    this.socket?.close()
  }

  private connect(): void {
    const socket = new WebSocket(this.address, [WEBSOCKET_PROTOCOL, TOKEN_PROTOCOL_PREFIX + this.token])
    this.socket = socket
    socket.onopen = () => {
      this.retryMs = FIRST_RETRY_MS
      for (const text of this.unsent.splice(0)) socket.send(text)
      this.emit('connection.changed', { connected: true })
    }
    socket.onmessage = (event) => this.receive(String(event.data))
    socket.onclose = () => this.onClose()
  }

  private onClose(): void {
    // What was asked may or may not have been done: the caller must know that no answer will come.
    const error: WireError = { code: 'disconnected', message: 'The connection to the machine manager was lost.' }
    for (const settle of this.waiting.values()) settle({ ok: false, error })
    this.waiting.clear()
    this.unsent.length = 0
    if (this.isClosed) return
    this.emit('connection.changed', { connected: false })
    setTimeout(() => this.connect(), this.retryMs)
    this.retryMs = Math.min(LONGEST_RETRY_MS, this.retryMs * 2)
  }

  private receive(text: string): void {
    const frame: unknown = JSON.parse(text)
    const event = eventFrame.safeParse(frame)
    if (event.success) {
      this.emit(event.data.event, event.data.payload)
      return
    }
    const reply = replyFrame.safeParse(frame)
    if (!reply.success) return
    const { data } = reply
    const settle = this.waiting.get(data.id)
    this.waiting.delete(data.id)
    settle?.(data.ok ? { ok: true, result: data.result } : { ok: false, error: data.error })
  }

  private emit(name: string, payload: unknown): void {
    for (const handler of this.handlers.get(name) ?? []) handler(payload)
  }
}

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { takeToken, WebSocketBridge } from './transport-websocket'

class FakeSocket {
  static readonly OPEN = 1
  static all: FakeSocket[] = []
  readyState = 0
  sent: string[] = []
  onopen: (() => void) | undefined
  onmessage: ((event: { data: string }) => void) | undefined
  onclose: (() => void) | undefined
  constructor(readonly address: string, readonly protocols: string[]) {
    FakeSocket.all.push(this)
  }

  send(text: string): void { this.sent.push(text) }
  close(): void { this.onclose?.() }
  open(): void {
    this.readyState = FakeSocket.OPEN
    this.onopen?.()
  }

  say(frame: object): void { this.onmessage?.({ data: JSON.stringify(frame) }) }
}

beforeEach(() => {
  FakeSocket.all = []
  vi.stubGlobal('WebSocket', FakeSocket)
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

describe('WebSocket transport', () => {
  it('keeps calls until the line is up and pairs answers with calls', async () => {
    const bridge = new WebSocketBridge('ws://x/ws', 'secret')
    const [socket] = FakeSocket.all
    expect(socket.protocols).toEqual(['nestbox', 'token.secret'])
    const first = bridge.call('machine.list', {})
    const second = bridge.call('task.list', {})
    expect(socket.sent).toEqual([])
    socket.open()
    expect(socket.sent.map((text) => JSON.parse(text) as unknown)).toEqual([
      { id: 1, call: 'machine.list', params: {} }, { id: 2, call: 'task.list', params: {} },
    ])
    socket.say({ id: 2, ok: false, error: { code: 'internal', message: 'no' } })
    socket.say({ id: 1, ok: true, result: [] })
    expect(await first).toEqual({ ok: true, result: [] })
    expect(await second).toEqual({ ok: false, error: { code: 'internal', message: 'no' } })
  })

  it('delivers events to those who subscribed, and no longer', () => {
    const bridge = new WebSocketBridge('ws://x/ws', 't')
    const [socket] = FakeSocket.all
    const handler = vi.fn()
    const stop = bridge.subscribe('machine.removed', handler)
    socket.open()
    socket.say({ event: 'machine.removed', payload: { id: 'a' } })
    socket.say({ event: 'trash.changed', payload: {} })
    stop()
    socket.say({ event: 'machine.removed', payload: { id: 'b' } })
    expect(handler.mock.calls).toEqual([[{ id: 'a' }]])
  })

  it('answers open calls when the line drops, says so, and connects again', async () => {
    const bridge = new WebSocketBridge('ws://x/ws', 't')
    const connection = vi.fn()
    bridge.subscribe('connection.changed', connection)
    FakeSocket.all[0].open()
    const pending = bridge.call('machine.list', {})
    FakeSocket.all[0].readyState = 3
    FakeSocket.all[0].close()
    expect(await pending).toMatchObject({ ok: false, error: { code: 'disconnected' } })
    vi.advanceTimersByTime(600)
    expect(FakeSocket.all).toHaveLength(2)
    FakeSocket.all[1].open()
    expect(connection.mock.calls.map(([payload]) => payload)).toEqual([{ connected: true }, { connected: false }, { connected: true }])
    bridge.close()
    vi.advanceTimersByTime(60_000)
    expect(FakeSocket.all).toHaveLength(2)
  })

  it('takes the token out of the address', () => {
    sessionStorage.clear()
    expect(takeToken()).toBeUndefined()
    location.hash = '#token=a b#/disks'
    expect(takeToken()).toBeUndefined()
    location.hash = '#token=abc'
    expect(takeToken()).toBe('abc')
    expect(location.hash).toBe('')
    expect(takeToken()).toBe('abc')
  })
})

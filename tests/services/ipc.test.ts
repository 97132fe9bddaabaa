/** The transports: frames, the local socket, the WebSocket with its token, and a second process that joins the first. */
import { mkdtempSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { EventName } from '../../src/preload/contract'
import type { Emit, Endpoint, Outcome } from '../../src/main/ipc/endpoint'
import { LineReader } from '../../src/main/ipc/line-reader'
import { LocalClient } from '../../src/main/ipc/local-client'
import { LocalServer } from '../../src/main/ipc/local-server'
import { openManager } from '../../src/main/ipc/open-manager'
import { RemoteEndpoint } from '../../src/main/ipc/remote-endpoint'
import { socketPath } from '../../src/main/ipc/socket-path'
import { resolveStaticFile } from '../../src/main/ipc/static-files'
import { WebServer } from '../../src/main/ipc/web-server'

const TOKEN = 'a-token-of-our-own'

/** Records calls, answers them, and can send events to every client. */
class FakeManager implements Endpoint {
  readonly clients = new Set<Emit>()
  readonly asked: [string, unknown][] = []
  answer: (name: string, params: unknown) => Outcome | Promise<Outcome> = (name) => ({ ok: true, result: { name } })

  connect(emit: Emit): { call: (name: string, params: unknown) => Promise<Outcome>; close: () => void } {
    this.clients.add(emit)
    return {
      call: async (name, params) => {
        this.asked.push([name, params])
        return this.answer(name, params)
      },
      close: () => void this.clients.delete(emit),
    }
  }

  emit: Emit = (name, payload) => {
    for (const client of this.clients) client(name, payload)
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 10_000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

let dir: string
let manager: FakeManager
const closing: (() => Promise<void> | void)[] = []

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-ipc-'))
  manager = new FakeManager()
})

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
  rmSync(dir, { recursive: true, force: true })
})

describe('lines', () => {
  it('are whole whatever the pieces, UTF-8 cut in the middle included', () => {
    const bytes = Buffer.from('{"a":"é"}\n\nsecond\nrest')
    const lines: string[] = []
    const reader = new LineReader(100, (line) => lines.push(line), () => lines.push('too long'))
    for (const byte of bytes) reader.push(Buffer.from([byte]))
    expect(lines).toEqual(['{"a":"é"}', 'second'])
  })

  it('longer than the limit end the reading, once', () => {
    const lines: string[] = []
    const reader = new LineReader(10, (line) => lines.push(line), () => lines.push('too long'))
    for (let i = 0; i < 5; i++) reader.push(Buffer.from('12345678'))
    reader.push(Buffer.from('x\ny\n'))
    expect(lines).toEqual(['too long'])
  })
})

describe('socket path', () => {
  it('stays in the library where it fits and moves where the system would cut it', () => {
    expect(socketPath('/home/u/Nestbox', 'linux')).toBe('/home/u/Nestbox/manager.sock')
    const deep = `/${'x'.repeat(120)}`
    const moved = socketPath(deep, 'linux')
    expect(Buffer.byteLength(moved)).toBeLessThanOrEqual(103)
    expect(moved).not.toBe(socketPath(`${deep}y`, 'linux'))
    expect(Buffer.byteLength(socketPath(deep, 'darwin', `/var/folders/${'y'.repeat(90)}`))).toBeLessThanOrEqual(103)
    expect(socketPath('C:\\lib', 'win32')).toMatch(/^\\\\\.\\pipe\\nestbox-[0-9a-f]{16}$/)
  })
})

describe('local socket', () => {
  let server: LocalServer

  beforeEach(async () => {
    server = await LocalServer.listen(manager, join(dir, 'manager.sock'))
    closing.push(() => server.close())
  })

  async function client(): Promise<LocalClient> {
    const connected = await LocalClient.connect(server.path)
    closing.push(() => connected.close())
    return connected
  }

  it('is this user\'s alone', () => {
    expect(statSync(server.path).mode & 0o777).toBe(0o600)
  })

  it('pairs answers with calls, in whatever order they come', async () => {
    manager.answer = async (name) => {
      if (name === 'machine.list') await new Promise((resolve) => setTimeout(resolve, 50))
      return { ok: true, result: name }
    }
    const line = await client()
    expect(await Promise.all([line.request('machine.list', {}), line.request('task.list', {})])).toEqual([
      { ok: true, result: 'machine.list' }, { ok: true, result: 'task.list' },
    ])
  })

  it('carries errors whole', async () => {
    manager.answer = () => ({ ok: false, error: { code: 'name-taken', message: 'there is one', details: { name: 'a' } } })
    await expect((await client()).call('machine.list', {})).rejects.toMatchObject({ code: 'name-taken', message: 'there is one', details: { name: 'a' } })
  })

  it('brings events to those who subscribed', async () => {
    const line = await client()
    const seen: unknown[] = []
    const stop = line.subscribe('machine.removed', ({ id }) => seen.push(id))
    await until(() => manager.clients.size === 1, 'the session')
    manager.emit('machine.removed', { id: 'a' })
    manager.emit('trash.changed', {})
    await until(() => seen.length === 1, 'the event')
    stop()
    manager.emit('machine.removed', { id: 'b' })
    await line.request('task.list', {})
    expect(seen).toEqual(['a'])
  })

  it('ends the session with its client, and open calls with the manager', async () => {
    const first = await client()
    await until(() => manager.clients.size === 1, 'the session')
    first.close()
    await until(() => manager.clients.size === 0, 'the end of the session')
    const second = await client()
    manager.answer = () => new Promise(() => undefined)
    const pending = second.request('machine.list', {})
    await until(() => manager.asked.length === 1, 'the call')
    await server.close()
    expect(await pending).toMatchObject({ ok: false, error: { code: 'disconnected' } })
    expect(await second.request('task.list', {})).toMatchObject({ ok: false, error: { code: 'disconnected' } })
  })

  it.each(['not json\n', '{"id":"x"}\n', '[]\n'])('cuts off who sends %j', async (text) => {
    const socket = connect(server.path)
    socket.on('error', () => undefined)
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
    socket.write(text)
    await closed
    expect(manager.asked).toEqual([])
    expect(await (await client()).request('task.list', {})).toMatchObject({ ok: true })
  })

  it('cuts off who never reads, and lives on', async () => {
    const socket = connect(server.path)
    socket.on('error', () => undefined)
    socket.pause()
    await until(() => manager.clients.size === 1, 'the session')
    const text = 'x'.repeat(1 << 20)
    for (let i = 0; i < 64 && manager.clients.size > 0; i++) {
      manager.emit('console.data', { consoleId: 'c', machineId: '11111111-2222-4333-8444-555555555555', port: 'ttyS0', text, bytes: text.length })
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until(() => manager.clients.size === 0, 'the cut')
    socket.destroy()
    expect(await (await client()).request('task.list', {})).toMatchObject({ ok: true })
  })

  it('takes the place of a dead manager\'s socket', async () => {
    const path = join(dir, 'stale.sock')
    writeFileSync(path, '')
    const again = await LocalServer.listen(manager, path)
    closing.push(() => again.close())
    const line = await LocalClient.connect(path)
    closing.push(() => line.close())
    expect(await line.request('task.list', {})).toMatchObject({ ok: true })
  })

  it('gives each client of a joined manager its own line', async () => {
    const remote = new RemoteEndpoint(server.path)
    const events: EventName[] = []
    const one = remote.connect((name) => events.push(name))
    const two = remote.connect(() => undefined)
    expect(await one.call('task.list', {})).toEqual({ ok: true, result: { name: 'task.list' } })
    expect(await two.call('task.list', {})).toMatchObject({ ok: true })
    expect(manager.clients.size).toBe(2)
    manager.emit('trash.changed', {})
    await until(() => events.includes('trash.changed'), 'the event')
    one.close()
    await until(() => manager.clients.size === 1, 'the end of one')
    await server.close()
    expect(await two.call('task.list', {})).toMatchObject({ ok: false, error: { code: 'disconnected' } })
    two.close()
  })
})

describe('web server', () => {
  let web: WebServer
  let base: string

  beforeEach(async () => {
    const root = join(dir, 'page')
    mkdirSync(root)
    writeFileSync(join(root, 'index.html'), '<p>page</p>')
    writeFileSync(join(dir, 'secret.txt'), 'secret')
    web = await WebServer.listen({ endpoint: manager, root, port: 0, token: TOKEN })
    closing.push(() => web.close())
    base = web.address.slice(0, web.address.indexOf('#'))
  })

  /** Sends the path as it is: `fetch` would tidy it. */
  function get(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = new URL(base)
      request({ hostname, port, path, method, headers }, (response) => {
        let body = ''
        response.on('data', (chunk: Buffer) => (body += chunk.toString()))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      }).on('error', reject).end()
    })
  }

  function open(protocols: string[], headers: Record<string, string> = {}, path = 'ws'): Promise<WebSocket> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(base.replace('http', 'ws') + path, protocols, { headers })
      socket.once('open', () => resolve(socket))
      socket.once('error', reject)
      closing.push(() => socket.terminate())
    })
  }

  const good = ['nestbox', `token.${TOKEN}`]

  it('tells its address with the token, on loopback', () => {
    expect(web.address).toMatch(new RegExp(`^http://127\\.0\\.0\\.1:\\d+/#token=${TOKEN}$`))
  })

  it('gives the page with a strict policy, and nothing outside its folder', async () => {
    const page = await get('/')
    expect(page).toMatchObject({ status: 200, body: '<p>page</p>' })
    expect(page.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page.headers['x-content-type-options']).toBe('nosniff')
    expect(page.headers['x-frame-options']).toBe('DENY')
    for (const path of ['/../secret.txt', '/%2e%2e/secret.txt', '/..%2fsecret.txt', '/%00', '/%', '/absent.js']) {
      expect(await get(path), path).toMatchObject({ status: 404, body: 'not found' })
    }
    expect(await get('/', {}, 'POST')).toMatchObject({ status: 405 })
  })

  it('resolves paths inside the folder only', () => {
    expect(resolveStaticFile('/r', '/a/b.js?x')).toBe('/r/a/b.js')
    for (const path of ['/../x', '/a/../../x', '/..', '/%2e%2e/%2e%2e/x', '/a\\..\\..\\x']) expect(resolveStaticFile('/r', path), path).toBeUndefined()
  })

  it('refuses a page of another name (DNS rebinding)', async () => {
    expect(await get('/', { host: 'evil.example' })).toMatchObject({ status: 421 })
  })

  it.each([
    ['no token', ['nestbox'], {}, 'ws', /401/],
    ['a wrong token', ['nestbox', 'token.wrong'], {}, 'ws', /401/],
    ['a foreign origin', good, { origin: 'http://evil.example' }, 'ws', /403/],
    ['a foreign host', good, { host: 'evil.example' }, 'ws', /421/],
    ['another path', good, {}, 'other', /404/],
  ])('refuses a WebSocket with %s', async (_what, protocols, headers, path, message) => {
    await expect(open(protocols, headers as Record<string, string>, path)).rejects.toThrow(message)
    expect(manager.clients.size).toBe(0)
  })

  it('answers calls and sends events to who has the token', async () => {
    const socket = await open(good, { origin: base.slice(0, -1) })
    expect(socket.protocol).toBe('nestbox')
    const frames: unknown[] = []
    socket.on('message', (data) => frames.push(JSON.parse(String(data))))
    socket.send(JSON.stringify({ id: 7, call: 'task.list', params: {} }))
    await until(() => frames.length === 1, 'the answer')
    manager.emit('trash.changed', {})
    await until(() => frames.length === 2, 'the event')
    expect(frames).toEqual([{ id: 7, ok: true, result: { name: 'task.list' } }, { event: 'trash.changed', payload: {} }])
    socket.close()
    await until(() => manager.clients.size === 0, 'the end of the session')
  })

  it('closes on what is no request', async () => {
    const socket = await open(good)
    const code = new Promise<number>((resolve) => socket.on('close', resolve))
    socket.send('hello')
    expect(await code).toBe(1007)
  })

  it('says so where the port is taken', async () => {
    const port = Number(new URL(base).port)
    await expect(WebServer.listen({ endpoint: manager, root: dir, port })).rejects.toMatchObject({ message: expect.stringContaining('another program') as string })
  })
})

describe('openManager', () => {
  it('holds the library once; who comes second joins the first', async () => {
    const home = join(dir, 'library')
    const options = { home, vmHostEntry: '/absent' }
    const first = await openManager(options)
    closing.push(() => first.shutdown())
    const second = await openManager(options)
    closing.push(() => second.shutdown())
    expect([first.isLocal, second.isLocal]).toEqual([true, false])
    const line = second.connect(() => undefined)
    expect(await line.call('host.info', {})).toMatchObject({ ok: true, result: { pid: process.pid, libraryPath: home } })
    expect(await line.call('no.such', {})).toMatchObject({ ok: false, error: { code: 'unsupported' } })
    expect(await line.call('machine.get', { id: 7 })).toMatchObject({ ok: false, error: { code: 'invalid-argument' } })
    const lost = new Promise<string>((resolve) => second.onLost(resolve))
    await first.shutdown()
    expect(await lost).toContain('ended')
  })

  it('works in a library whose path no socket could have', async () => {
    const home = join(dir, 'd'.repeat(60), 'e'.repeat(60))
    const first = await openManager({ home, vmHostEntry: '/absent' })
    closing.push(() => first.shutdown())
    const second = await openManager({ home, vmHostEntry: '/absent' })
    closing.push(() => second.shutdown())
    expect(second.isLocal).toBe(false)
  })
})

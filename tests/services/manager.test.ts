import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish, type CallName, type CallParams, type CallResult, type Machine, type WireError } from '../../src/preload/contract'
import { createManager, type Manager, type ManagerClient } from '../../src/main/services/manager'
import { buildVmHost } from '../fixtures/build-vm-host'
import { GUESTS, buildTinyKernel } from '../fixtures/tiny-kernel'

const root = fileURLToPath(new URL('../..', import.meta.url))

class TestClient {
  readonly events: [string, unknown][] = []
  private readonly client: ManagerClient

  constructor(manager: Manager) {
    this.client = manager.connect((name, payload) => this.events.push([name, payload]))
  }

  async call<N extends CallName>(name: N, params: CallParams<N>): Promise<CallResult<N>> {
    const outcome = await this.client.call(name, params)
    if (!outcome.ok) throw Object.assign(new Error(outcome.error.message), outcome.error)
    return outcome.result as CallResult<N>
  }

  async refusal(name: string, params: unknown): Promise<WireError> {
    const outcome = await this.client.call(name, params)
    if (outcome.ok) throw new Error(`${name} was not refused`)
    return outcome.error
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const end = Date.now() + 30_000
    while (!condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for ${what}; ${JSON.stringify(this.events.slice(-5)).slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  of<T>(name: string): T[] {
    return this.events.filter(([event]) => event === name).map(([, payload]) => payload as T)
  }

  close(): void {
    this.client.close()
  }
}

describe('manager', () => {
  let home: string
  let vmHostEntry: string
  let manager: Manager
  let client: TestClient

  beforeAll(() => {
    vmHostEntry = buildVmHost()
  })

  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-manager-'))
    manager = await createManager({ home, vmHostEntry, powerOffTimeoutMs: 300 })
    client = new TestClient(manager)
  })

  afterEach(async () => {
    await manager.shutdown()
    rmSync(home, { recursive: true, force: true })
  })

  function guest(name: keyof typeof GUESTS): string {
    const path = join(home, `${name}.bin`)
    writeFileSync(path, buildTinyKernel(GUESTS[name]))
    return path
  }

  const create = (name: string, kernel: string, more: object = {}): Promise<Machine> =>
    client.call('machine.create', { settings: { name, kernel, memoryMiB: 32, onReset: 'stop', maxTier: 0, ...more } })
  const stateOf = async (id: string): Promise<string> => (await client.call('machine.get', { id })).state

  it('says what it is', async () => {
    const info = await client.call('host.info', {})
    expect(info).toMatchObject({ libraryPath: home, pid: process.pid, cpuProfiles: ['nestbox64', 'nestbox32'] })
    expect(info.version).toMatch(/^\d+\.\d+\.\d+$/)
  })

  it('keeps preferences, tells every client, and refuses what is not one', async () => {
    const other = new TestClient(manager)
    await client.call('preferences.set', { theme: 'dark', onQuit: 'powerOff' })
    await other.until('the news', () => other.of('preferences.changed').length === 1)
    expect(await other.call('preferences.get', {})).toMatchObject({ theme: 'dark', onQuit: 'powerOff', language: 'system' })
    expect(await client.refusal('preferences.set', { theme: 'pink' })).toMatchObject({ code: 'invalid-argument' })
    other.close()
  })

  it('lists folders for pages without a file dialog, and has none itself', async () => {
    const { entries } = await client.call('host.folder', { path: home })
    expect(entries.map(({ name }) => name)).toContain('machines')
    expect(await client.refusal('host.folder', { path: join(home, 'none') })).toMatchObject({ code: 'file-missing' })
    expect(await client.refusal('host.pickFile', { mode: 'open', title: 'Kernel' })).toMatchObject({ code: 'unsupported' })
  })

  it('suspends a guest that does not obey the power button when it ends', async () => {
    const { id } = await create('deaf', guest('echo'))
    await client.call('machine.start', { id })
    await manager.shutdown('powerOff')
    manager = await createManager({ home, vmHostEntry })
    client = new TestClient(manager)
    expect(await stateOf(id)).toBe('saved')
  })

  it('refuses what the contract does not know', async () => {
    expect(await client.refusal('machine.explode', {})).toMatchObject({ code: 'unsupported' })
    expect(await client.refusal('toString', {})).toMatchObject({ code: 'unsupported' })
    expect(await client.refusal('machine.get', { id: '../../etc/passwd' })).toMatchObject({ code: 'invalid-argument' })
    expect(await client.refusal('machine.get', undefined)).toMatchObject({ code: 'invalid-argument' })
    const refused = await client.refusal('machine.create', { settings: { name: '--force', kernel: '/k' } })
    expect(refused).toMatchObject({ code: 'invalid-argument' })
    expect(refused.message).toContain('name takes letters')
    expect(refused.details).toMatchObject({ issues: [{ path: 'settings.name' }] })
  })

  it('refuses files and models that are not there', async () => {
    const kernel = guest('hello')
    const tries: [object, string][] = [
      [{ kernel: '/no/such/kernel' }, 'file-missing'], [{ kernel: home }, 'file-unreadable'], [{ kernel: 'relative' }, 'invalid-argument'],
      [{ kernel, initrd: '/no/initrd' }, 'file-missing'], [{ kernel, cpuProfile: 'z80' }, 'invalid-argument'], [{}, 'invalid-argument'],
      [{ kernel, disks: [{ path: '/no/disk', format: 'raw', readOnly: false }] }, 'file-missing'],
    ]
    for (const [settings, code] of tries) {
      expect(await client.refusal('machine.create', { settings: { name: 'x', ...settings } }), JSON.stringify(settings)).toMatchObject({ code })
    }
    expect(await client.call('machine.list', {})).toEqual([])
  })

  it('runs a machine to its end and keeps what it said', async () => {
    const { id } = await create('hello', guest('hello'))
    await client.call('machine.start', { id }).catch(() => undefined)
    await client.until('its end', () => client.of<Machine>('machine.changed').at(-1)?.state === 'stopped')
    expect(client.of<Machine>('machine.changed').map(({ state }) => state)).toContain('starting')
    expect((await client.call('console.history', { id, port: 'ttyS0' })).text).toBe('hello from the guest\r\n')
    await manager.shutdown()
    manager = await createManager({ home, vmHostEntry })
    client = new TestClient(manager)
    const { consoleId } = await client.call('console.open', { id, port: 'ttyS0' })
    expect(client.of('console.data')).toEqual([{ consoleId, machineId: id, port: 'ttyS0', text: 'hello from the guest\r\n', bytes: 22 }])
    const log = await client.call('machine.log', { id })
    expect(log.find(({ text }) => text.startsWith('started, process '))).toMatchObject({ level: 'info' })
    expect(log.at(-1)).toMatchObject({ level: 'info', text: 'stopped', phrase: { key: 'log.stopped' } })
  })

  it('pauses, resumes, counts and stops', async () => {
    const { id } = await create('spin', guest('spin'))
    await client.call('machine.start', { id })
    expect(await client.call('machine.get', { id })).toMatchObject({ state: 'running', pid: expect.any(Number) as number, startedAt: expect.any(String) as string })
    expect(manager.runningCount()).toBe(1)
    expect(await client.refusal('machine.start', { id })).toMatchObject({ code: 'wrong-state' })
    await client.until('figures', () => client.of('machine.figures').length > 0)
    await client.until('instructions', () => (client.of<{ figures: { instructions: number } }>('machine.figures').at(-1)?.figures.instructions ?? 0) > 0)
    await client.call('machine.pause', { id })
    expect(await stateOf(id)).toBe('paused')
    expect(await client.refusal('machine.pause', { id })).toMatchObject({ code: 'wrong-state' })
    await client.call('machine.resume', { id })
    expect(await stateOf(id)).toBe('running')
    expect(await client.refusal('machine.delete', { id })).toMatchObject({ code: 'machine-busy' })
    await client.call('machine.forceStop', { id })
    expect(await stateOf(id)).toBe('stopped')
    expect(manager.runningCount()).toBe(0)
  })

  it('lets two clients type into one machine, and holds no console of one that went', async () => {
    const { id } = await create('echo', guest('echo'))
    await client.call('machine.start', { id })
    const other = new TestClient(manager)
    await client.call('console.open', { id, port: 'ttyS0' })
    await other.call('console.open', { id, port: 'ttyS0' })
    await client.call('console.write', { id, port: 'ttyS0', text: 'é' })
    const said = (of: TestClient): string => of.of<{ text: string }>('console.data').map(({ text }) => text).join('')
    await client.until('the echo', () => said(client) === 'é' && said(other) === 'é')
    other.close()
    await client.call('console.write', { id, port: 'ttyS0', text: '!' })
    await client.until('the second echo', () => said(client) === 'é!')
    expect(said(other)).toBe('é')
    await client.call('console.write', { id, port: 'ttyS0', text: '\u001b[6n' })
    await client.until('the question', () => said(client).endsWith('\u001b[6n'))
    const late = new TestClient(manager)
    await late.call('console.open', { id, port: 'ttyS0' })
    expect(said(late)).toBe('é!')
    await client.call('machine.forceStop', { id })
    expect(await client.refusal('console.write', { id, port: 'ttyS0', text: 'x' })).toMatchObject({ code: 'wrong-state' })
  })

  it('reports a guest that crashed and a process that was killed, and goes on', async () => {
    const crash = await create('crash', guest('tripleFault'))
    const victim = await create('victim', guest('spin'))
    await client.call('machine.start', { id: victim.id })
    await client.call('machine.start', { id: crash.id }).catch(() => undefined)
    const last = (id: string): Machine | undefined => client.of<Machine>('machine.changed').filter((machine) => machine.id === id).at(-1)
    await client.until('the crash', () => last(crash.id)?.state === 'crashed')
    expect(inEnglish(last(crash.id)?.problem ?? '')).toContain('crash')
    process.kill((await client.call('machine.get', { id: victim.id })).pid as number, 'SIGKILL')
    await client.until('the kill', () => last(victim.id)?.state === 'crashed')
    expect(inEnglish(last(victim.id)?.problem ?? '')).toContain('SIGKILL')
    await client.call('machine.start', { id: victim.id })
    expect(await stateOf(victim.id)).toBe('running')
  })

  it('says that a file is no kernel', async () => {
    const path = join(home, 'text.txt')
    writeFileSync(path, 'not a kernel')
    const { id } = await create('text', path)
    expect(await client.refusal('machine.start', { id })).toMatchObject({ code: 'bad-kernel' })
    expect(await stateOf(id)).toBe('stopped')
  })

  it('says that a disk has gone since', async () => {
    const path = join(home, 'disk.img')
    writeFileSync(path, Buffer.alloc(1 << 20))
    const { id } = await create('disk', guest('hello'), { disks: [{ path, format: 'raw', readOnly: false }] })
    rmSync(path)
    expect(await client.refusal('machine.start', { id })).toMatchObject({ code: 'file-missing', details: { path } })
    expect(await stateOf(id)).toBe('stopped')
  })

  it('gives a disk that is written to one running machine only', async () => {
    const path = join(home, 'disk.img')
    writeFileSync(path, Buffer.alloc(1 << 20))
    const kernel = guest('spin')
    const writer = await create('writer', kernel, { disks: [{ path, format: 'raw', readOnly: false }] })
    const reader = await create('reader', kernel, { disks: [{ path, format: 'raw', readOnly: true }] })
    await client.call('machine.start', { id: writer.id })
    expect(await client.refusal('machine.start', { id: reader.id })).toMatchObject({ code: 'machine-busy' })
    await client.call('machine.forceStop', { id: writer.id })
    await client.call('machine.start', { id: reader.id })
  })

  it('lets one terminal answer what the guest asks, of all that are open anywhere', async () => {
    const { id } = await create('echo', guest('echo'))
    const at = { id, port: 'ttyS0' } as const
    const [other, pipe] = [new TestClient(manager), new TestClient(manager)]
    const opened: [TestClient, string][] = []
    for (const [by, answers] of [[client, true], [client, true], [other, true], [pipe, false]] as const) opened.push([by, (await by.call('console.open', { ...at, answers })).consoleId])
    await client.call('machine.start', { id })
    const shown = ([by, consoleId]: [TestClient, string]): string => by.of<{ consoleId: string; text: string }>('console.data').filter((chunk) => chunk.consoleId === consoleId).map(({ text }) => text).join('')
    let round = 0
    /** The guest says what it hears. What begins as a terminal's own answers do is no person's. */
    const asked = async (): Promise<boolean[]> => {
      const end = `end-${++round};`
      await client.call('console.write', { ...at, text: `\u001b[6n${end}` })
      await client.until('the echo', () => opened.every((one) => shown(one).includes(end)))
      return opened.map((one) => shown(one).includes(`\u001b[6n${end}`))
    }
    expect(await asked()).toEqual([false, false, true, false])
    await client.call('console.focus', { consoleId: opened[0][1] })
    expect(await asked()).toEqual([true, false, false, false])
    await client.call('console.focus', { consoleId: opened[1][1] })
    expect(await asked()).toEqual([false, true, false, false])
    await other.call('console.write', { ...at, text: 'typed' })
    expect(await asked()).toEqual([false, false, true, false])
    other.close()
    opened.splice(2, 1)
    expect(await asked()).toEqual([false, true, false])
    pipe.close()
  })

  it('deletes with consoles open, restores with the console kept', async () => {
    const { id } = await create('hello', guest('hello'))
    await client.call('machine.start', { id }).catch(() => undefined)
    await client.until('its end', () => client.of<Machine>('machine.changed').at(-1)?.state === 'stopped')
    await client.call('console.open', { id, port: 'ttyS0' })
    const item = await client.call('machine.delete', { id })
    expect(client.of('machine.removed')).toEqual([{ id }])
    expect(client.of('trash.changed')).toHaveLength(1)
    expect(existsSync(join(home, 'machines', id))).toBe(false)
    expect(await client.refusal('machine.get', { id })).toMatchObject({ code: 'not-found' })
    expect(await client.call('trash.list', {})).toEqual([item])
    expect(await client.call('trash.restore', { id: item.id })).toMatchObject({ id, name: 'hello', state: 'stopped' })
    expect((await client.call('console.history', { id, port: 'ttyS0' })).text).toContain('hello from the guest')
  })

  it('lists images and follows a task', async () => {
    const images = await client.call('image.list', {})
    expect(images.map(({ id }) => id)).toContain('starter')
    const missing = images.find(({ unavailable }) => unavailable !== undefined)
    expect(await client.refusal('image.prepare', { id: missing?.id ?? 'none' })).toMatchObject({ code: 'image-unavailable' })
    expect(await client.refusal('image.prepare', { id: 'nonsense' })).toMatchObject({ code: 'not-found' })
    expect(await client.refusal('machine.create', { settings: { name: 'x' }, image: 'nonsense' })).toMatchObject({ code: 'not-found' })
    expect(await client.call('task.list', {})).toEqual([])
  })

  it('shows a damaged machine and will not start it', async () => {
    const { id } = await create('broken', guest('hello'))
    await manager.shutdown()
    writeFileSync(join(home, 'machines', id, 'machine.json'), '')
    manager = await createManager({ home, vmHostEntry })
    client = new TestClient(manager)
    const [damaged] = await client.call('machine.list', {})
    expect(damaged).toMatchObject({ id, state: 'damaged' })
    expect(inEnglish(damaged.problem ?? '')).toContain('machine.json.damaged-')
    expect(await client.refusal('machine.start', { id })).toMatchObject({ code: 'machine-damaged' })
  })

  it('lets nobody else have the library, and gives it free', async () => {
    await manager.announce('/tmp/where.sock')
    await expect(createManager({ home, vmHostEntry })).rejects.toMatchObject({ code: 'library-locked', details: { pid: process.pid, socket: '/tmp/where.sock' } })
    await manager.shutdown()
    manager = await createManager({ home, vmHostEntry })
  })
})

describe('lock', () => {
  let home: string
  let library: string
  let holder: ChildProcess | undefined

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-lock-'))
    library = join(home, 'library')
  })

  afterEach(() => {
    holder?.kill('SIGKILL')
    rmSync(home, { recursive: true, force: true })
  })

  /** A manager in a process of its own. @param then runs when it holds the library; what it prints is given back */
  async function hold(then: string, ...args: string[]): Promise<string> {
    const outfile = join(home, 'holder.cjs')
    const contents = `import { createManager } from './src/main/services/manager'
      const [library, vmHostEntry, kernel] = process.argv.slice(2)
      createManager({ home: library, vmHostEntry }).then(async (manager) => { ${then}; setInterval(() => undefined, 1000) })`
    buildSync({ stdin: { contents, resolveDir: root, loader: 'ts' }, outfile, bundle: true, platform: 'node', target: 'node18', format: 'cjs', logLevel: 'error' })
    holder = spawn(process.execPath, [outfile, library, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    return new Promise((resolve) => holder?.stdout?.once('data', (data: Buffer) => resolve(data.toString().trim())))
  }

  async function kill(): Promise<void> {
    const ended = new Promise((resolve) => holder?.once('exit', resolve))
    holder?.kill('SIGKILL')
    await ended
  }

  it('is taken over from a manager that was killed', async () => {
    await hold("console.log('held')", '')
    await expect(createManager({ home: library, vmHostEntry: '' })).rejects.toMatchObject({ code: 'library-locked', details: { pid: holder?.pid } })
    await kill()
    const began = Date.now()
    const manager = await createManager({ home: library, vmHostEntry: '' })
    expect(Date.now() - began).toBeLessThan(10_000)
    await manager.shutdown()
  })

  it('leaves no machine of a killed manager behind, and keeps its library', async () => {
    const kernel = join(home, 'spin.bin')
    writeFileSync(kernel, buildTinyKernel(GUESTS.spin))
    const pid = Number(await hold(`
      const client = manager.connect(() => undefined)
      const created = await client.call('machine.create', { settings: { name: 'orphan', kernel, memoryMiB: 32, maxTier: 0 } })
      await client.call('machine.start', { id: created.result.id })
      console.log((await client.call('machine.get', { id: created.result.id })).result.pid)`, buildVmHost(), kernel))
    expect(() => process.kill(pid, 0)).not.toThrow()
    await kill()
    const manager = await createManager({ home: library, vmHostEntry: '' })
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    const listed = await new TestClient(manager).call('machine.list', {})
    expect(listed).toMatchObject([{ name: 'orphan', state: 'stopped' }])
    await manager.shutdown()
  })

  // Needs a file system of its own, which only root may mount.
  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('says that the folder is read-only or the disk is full, and works when it no longer is', async () => {
    mkdirSync(library)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', library])
    try {
      execFileSync('mount', ['-o', 'remount,ro', library])
      await expect(createManager({ home: library, vmHostEntry: '' })).rejects.toMatchObject({ code: 'library-read-only' })
      execFileSync('mount', ['-o', 'remount,rw', library])
      expect(() => writeFileSync(join(library, 'filler'), Buffer.alloc(1 << 20))).toThrow('ENOSPC')
      await expect(createManager({ home: library, vmHostEntry: '' })).rejects.toMatchObject({ code: 'disk-full' })
      rmSync(join(library, 'filler'))
      const manager = await createManager({ home: library, vmHostEntry: '' })
      await manager.shutdown()
    } finally {
      execFileSync('umount', ['-l', library])
    }
  })
})

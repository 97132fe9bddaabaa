/** Clones, templates, exports and imports under faults: all or nothing, and no file of another machine is touched. */
import { execFileSync, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Machine } from '../../src/preload/contract'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { during, HOST_FAULTS } from '../fixtures/host-faults'
import { ManagerRig } from './manager-rig'

const root = fileURLToPath(new URL('../..', import.meta.url))
const DISK_BYTES = 12 << 20

describe('clones, templates and archives under faults', () => {
  let vmHostEntry: string
  let script: string
  let rig: ManagerRig
  let disk: string
  let source: Machine
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
    script = `${root}.cache/tests/clone-${process.pid}.cjs`
    const contents = `import { createManager } from './src/main/services/manager'
      void (async () => {
        const [home, vmHostEntry, start, name, params] = process.argv.slice(2)
        const manager = await createManager({ home, vmHostEntry })
        const client = manager.connect(() => undefined)
        if (start) await client.call('machine.start', { id: start })
        process.stdout.write('go')
        const outcome = await client.call(name, JSON.parse(params))
        process.stdout.write(outcome.ok ? 'done' : JSON.stringify(outcome.error))
        await manager.shutdown()
      })()`
    buildSync({ stdin: { contents, resolveDir: root, loader: 'ts' }, outfile: script, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 1)
    disk = join(rig.home, 'disk.img')
    writeFileSync(disk, randomBytes(DISK_BYTES))
    await rig.open()
    source = await rig.create({ name: 'source', disks: [{ path: disk, format: 'raw', readOnly: false }] })
  })
  afterEach(() => rig.close())

  /** Digest of every file of the source: its folder (but logs) and its disk. */
  function print(): Record<string, string> {
    const files = (dir: string): string[] => readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
      (entry.isDirectory() ? (entry.name === 'logs' ? [] : files(join(dir, entry.name))) : [join(dir, entry.name)]))
    return Object.fromEntries([...files(rig.machineFolder(source.id)), disk].map((path) => [path, createHash('sha256').update(readFileSync(path)).digest('hex')]))
  }

  /** @param killAfterMs of the call; undefined for never @returns how long the call took, and what came of it */
  function perform(name: string, params: object, killAfterMs?: number, start = ''): Promise<{ ms: number; said: string }> {
    return new Promise((resolve) => {
      const child = spawn(process.execPath, [script, rig.home, vmHostEntry, start, name, JSON.stringify(params)], { stdio: ['ignore', 'pipe', 'inherit'] })
      let [said, begun, ended] = ['', 0, 0]
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        if (begun === 0) {
          begun = performance.now()
          if (killAfterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfterMs)
        } else ended = performance.now()
      })
      child.on('close', () => resolve({ ms: ended - begun, said }))
    })
  }

  async function reopen(): Promise<void> {
    // The lock of a killed process would count as held until it is old.
    rmSync(join(rig.home, 'manager.lock'), { recursive: true, force: true })
    await rig.open()
  }

  /** What there is besides the source, and that it is whole. */
  async function others(): Promise<Machine[]> {
    expect(readdirSync(join(rig.home, 'machines')).filter((name) => name.startsWith('.'))).toEqual([])
    expect(readdirSync(rig.home).filter((name) => name.includes('.tmp-'))).toEqual([])
    const found = (await call('machine.list', {})).filter(({ id }) => id !== source.id)
    for (const { disks, state } of found) {
      expect(state).toBe('stopped')
      const { path, format } = disks[0]
      const raw = format === 'raw' ? path : join(rig.home, 'converted.img')
      if (format !== 'raw') execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', path, raw])
      expect(readFileSync(raw).equals(readFileSync(disk))).toBe(true)
    }
    return found
  }

  const ROUNDS = 7
  it.each([['machine.clone', ''], ['machine.create', ''], ['machine.create', 'linked'], ['machine.import', ''], ['machine.export', '']] as const)('%s %s, killed at any moment', async (name, linked) => {
    const archive = join(rig.home, 'a.nestbox')
    const target = join(rig.home, 'out.nestbox')
    if (name === 'machine.create') await call('template.create', { id: source.id })
    if (name === 'machine.import') await call('machine.export', { id: source.id, path: archive })
    const params = {
      'machine.clone': { id: source.id }, 'machine.create': { settings: { name: 'made' }, template: source.id, linked: linked === 'linked' }, 'machine.import': { path: archive, name: 'made' },
      'machine.export': { id: source.id, path: target, overwrite: true },
    }[name]
    const before = print()
    await rig.manager.shutdown()
    const { ms, said } = await perform(name, params)
    expect(said).toBe('godone')
    for (let round = 0; round < ROUNDS; round++) {
      await reopen()
      for (const { id } of await others()) {
        await call('machine.delete', { id })
        await call('trash.purge', { id })
      }
      await rig.manager.shutdown()
      if (name === 'machine.export') writeFileSync(target, 'old')
      await perform(name, params, (ms * round) / (ROUNDS - 1))
      await reopen()
      expect(print()).toEqual(before)
      const made = await others()
      if (name === 'machine.export') {
        const whole = readFileSync(target, 'utf8') === 'old' || execFileSync('tar', ['-tf', target], { encoding: 'utf8' }).trim().endsWith('SHA256SUMS')
        expect(whole).toBe(true)
      } else expect(made.length).toBeLessThanOrEqual(1)
      await rig.manager.shutdown()
    }
    await rig.open()
  })

  it('a fork, killed at any moment', async () => {
    const before = print()
    await rig.manager.shutdown()
    for (const after of [1, 30, 80]) {
      await perform('machine.fork', { id: source.id, name: 'made' }, after, source.id)
      await reopen()
      expect(print()).toEqual(before)
      expect(readdirSync(join(rig.home, 'machines')).filter((name) => name.startsWith('.'))).toEqual([])
      for (const made of await call('machine.list', {})) {
        if (made.id === source.id) continue
        // Complete, and only not started yet; or started and cut off like the other.
        expect(['saved', 'stopped']).toContain(made.state)
        expect(statSync(made.disks[0].path).size).toBe(DISK_BYTES)
        await call('machine.delete', { id: made.id })
        await call('trash.purge', { id: made.id })
      }
      await rig.manager.shutdown()
    }
    await rig.open()
  })

  it('cancelled, nothing is left', async () => {
    const before = print()
    const target = join(rig.home, 'out.nestbox')
    for (const work of [() => call('machine.clone', { id: source.id }), () => call('machine.export', { id: source.id, path: target }), () => call('template.create', { id: source.id, name: 't' })]) {
      const running = work()
      const settled = running.then(() => 'done', (error: { code: string }) => error.code)
      await rig.until('the task', () => true)
      const task = (await call('task.list', {})).find(({ state }) => state === 'running')
      if (task) await call('task.cancel', { id: task.id }).catch(() => undefined)
      expect(['cancelled', 'done']).toContain(await settled)
      for (const { id } of await others()) await call('machine.delete', { id })
      rmSync(target, { force: true })
    }
    expect(print()).toEqual(before)
  })

  it('with a full disk says so and leaves everything as it was', async () => {
    const full = HOST_FAULTS['the disk full']
    const target = join(rig.home, 'small')
    mkdirSync(target)
    const archive = join(rig.home, 'a.nestbox')
    await call('machine.export', { id: source.id, path: archive })
    const before = print()
    await during(full, target, async () => {
      for (const format of ['nestbox', 'ova'] as const) {
        await expect(call('machine.export', { id: source.id, path: join(target, 'x'), format })).rejects.toMatchObject({ code: 'disk-full' })
      }
      expect(readdirSync(target).filter((name) => !name.startsWith('..'))).toEqual([])
    })
    // The library itself: its machines on a file system that is full.
    await rig.manager.shutdown()
    await during(full, join(rig.home, 'machines'), async () => {
      for (const work of [() => call('machine.clone', { id: source.id }), () => call('template.create', { id: source.id, name: 't' }), () => call('machine.import', { path: archive })]) {
        await expect(work()).rejects.toMatchObject({ code: 'disk-full' })
        expect((await call('machine.list', {})).map(({ id }) => id)).toEqual([source.id])
      }
    }, () => rig.open(), () => rig.manager.shutdown())
    expect(print()).toEqual(before)
    await rig.open()
    expect(await others()).toEqual([])
  })

  it('in a read-only folder says so and leaves everything as it was', async () => {
    const locked = HOST_FAULTS['the folder read-only']
    const target = join(rig.home, 'locked')
    mkdirSync(target)
    const before = print()
    await during(locked, target, async () => {
      for (const format of ['nestbox', 'ova'] as const) {
        await expect(call('machine.export', { id: source.id, path: join(target, 'x'), format })).rejects.toMatchObject({ code: 'library-read-only' })
      }
    })
    await rig.manager.shutdown()
    await during(locked, join(rig.home, 'machines'), async () => {
      for (const work of [() => call('machine.clone', { id: source.id }), () => call('template.create', { id: source.id }), () => call('template.create', { id: source.id, name: 't' })]) {
        await expect(work()).rejects.toMatchObject({ code: 'library-read-only' })
      }
    }, () => rig.open(), () => rig.manager.shutdown())
    expect(print()).toEqual(before)
    await rig.open()
    expect(await others()).toEqual([])
    expect(await call('machine.get', { id: source.id })).not.toHaveProperty('isTemplate')
    expect(await call('machine.clone', { id: source.id })).toMatchObject({ name: 'source 2' })
  })

  it('with a damaged saved state: the copy is refused when it starts, with the reason, and starts without it', async () => {
    await call('machine.start', { id: source.id })
    await call('machine.suspend', { id: source.id })
    const state = rig.machineFolder(source.id, 'saved', 'state.nbs')
    const bytes = readFileSync(state)
    // The checksum at the very end; the memory itself is looked at when it is needed.
    bytes[bytes.length - 1] ^= 1
    // Not in place: a second name of the file would be damaged too.
    rmSync(state)
    writeFileSync(state, bytes)
    const made = await call('machine.clone', { id: source.id })
    await expect(call('machine.start', { id: made.id })).rejects.toMatchObject({ code: 'state-damaged' })
    expect(await rig.stateOf(made.id)).toBe('saved')
    await call('machine.start', { id: made.id, fresh: true })
    await call('machine.forceStop', { id: made.id })
  })
})

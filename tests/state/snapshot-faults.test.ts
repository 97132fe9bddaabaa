/**
 * Operations on a machine with memory, each under each fault: a killed manager, a full host disk, a read-only folder. The machine
 * is afterwards in the old or in the new state, its guest goes on from there, and no file of another machine has changed.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Machine } from '../../src/preload/contract'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** What the machine holds: more than the room that a full disk leaves. */
const FILLED_MIB = 6
const canMount = process.getuid?.() === 0 && process.platform === 'linux'

/** An operation, with the machine as it has to be for it. `{first}` and the like stand for ids. */
interface Operation { readonly call: string; readonly params: Record<string, unknown>; readonly running?: boolean; readonly makes?: true; readonly isTemplate?: true }
const operations: Record<string, Operation> = {
  take: { call: 'snapshot.take', params: { id: '{id}', name: 'new' }, running: true },
  restore: { call: 'snapshot.restore', params: { id: '{id}', snapshotId: '{first}', keepCurrent: false } },
  'restore with undo': { call: 'snapshot.restore', params: { id: '{id}', snapshotId: '{first}' }, running: true },
  'delete (a base of others)': { call: 'snapshot.delete', params: { id: '{id}', snapshotId: '{first}' } },
  rename: { call: 'snapshot.change', params: { id: '{id}', snapshotId: '{second}', name: 'renamed' } },
  suspend: { call: 'machine.suspend', params: { id: '{id}' }, running: true },
  fork: { call: 'machine.fork', params: { id: '{id}', name: 'made' }, running: true, makes: true },
  'full clone of a snapshot': { call: 'machine.clone', params: { id: '{id}', name: 'made', snapshotId: '{second}' }, makes: true },
  'linked clone of a snapshot': { call: 'machine.clone', params: { id: '{id}', name: 'made', snapshotId: '{second}', linked: true }, makes: true },
  'template of a running machine': { call: 'template.create', params: { id: '{id}', name: 'made' }, running: true, makes: true },
  'machine from a template with a state': { call: 'machine.create', params: { settings: { name: 'made' }, template: '{template}' }, makes: true },
}

describe('a machine with snapshots of its memory, under faults', () => {
  let vmHostEntry: string
  let script: string
  let rig: ManagerRig
  let machine: Machine
  let ids: Record<string, string>
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const machines = (): string => join(rig.home, 'machines')
  const pristine = (): string => join(rig.home, 'machines.pristine')

  beforeAll(async () => {
    vmHostEntry = buildVmHostWithInterpreter()
    script = `${root}.cache/tests/faults-${process.pid}.cjs`
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
    await prepare()
  })
  afterAll(async () => {
    await rig.close()
    rmSync(script, { force: true })
  })
  beforeEach(async () => {
    await rig.manager.shutdown()
    rmSync(machines(), { recursive: true })
    execFileSync('cp', ['-a', pristine(), machines()])
    await rig.open()
  })

  /** Two snapshots, the second built on the first (so that `memory/` has a file), and a template that ran. */
  async function prepare(): Promise<void> {
    rig = new ManagerRig(vmHostEntry, FILLED_MIB)
    await rig.open()
    machine = await rig.create()
    const disk = rig.machineFolder(machine.id, 'disk.img')
    writeFileSync(disk, Buffer.alloc(64 << 10, 1))
    await call('machine.update', { id: machine.id, settings: { disks: [{ path: disk, format: 'raw', readOnly: false }] } })
    await call('console.open', { id: machine.id, port: 'ttyS0' })
    await call('machine.start', { id: machine.id })
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(machine.id, 'Aa')
    const { id: first } = await call('snapshot.take', { id: machine.id, name: 'first' })
    await rig.type(machine.id, 'Bb')
    const { id: second } = await call('snapshot.take', { id: machine.id, name: 'second' })
    const { id: template } = await call('template.create', { id: machine.id, name: 'template' })
    await rig.type(machine.id, 'Cc')
    await call('machine.suspend', { id: machine.id })
    ids = { id: machine.id, first, second, template }
    expect(readdirSync(rig.machineFolder(machine.id, 'memory')).length).toBeGreaterThan(0)
    await rig.manager.shutdown()
    execFileSync('cp', ['-a', machines(), pristine()])
    await rig.open()
  }

  const filled = (params: object): string => JSON.stringify(params).replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name])
  const files = (dir: string): string[] => readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
    (entry.isDirectory() ? (entry.name === 'logs' ? [] : files(join(dir, entry.name))) : [join(dir, entry.name)]))
  /** Digests of the files of the machine that no operation concerns. */
  const others = (): [string, string][] => files(rig.machineFolder(ids.template)).map((path) => [path, createHash('sha256').update(readFileSync(path)).digest('hex')])

  /** The state files that others need, and nothing that an operation left lying about. */
  function expectTidy(): void {
    const all = files(machines()).map((path) => path.slice(machines().length))
    expect(all.filter((path) => /\.tmp|\.new-|\.old-|nestbox-restored|switch\.json|\.used/.test(path))).toEqual([])
    const memory = rig.machineFolder(machine.id, 'memory')
    for (const name of readdirSync(memory)) expect(statSync(join(memory, name)).size).toBeGreaterThan(FILLED_MIB << 18)
  }

  /** Every point that the tree has can be gone back to, and the guest remembers there what it knew. */
  async function expectUsable(): Promise<void> {
    const { snapshots } = await call('snapshot.list', { id: machine.id })
    const answers: Record<string, string> = { first: 'Bb', second: 'Cc', renamed: 'Cc' }
    for (const { id: snapshotId, name } of snapshots.filter(({ name }) => name in answers)) {
      await call('snapshot.restore', { id: machine.id, snapshotId, keepCurrent: false, start: true })
      await call('console.open', { id: machine.id, port: 'ttyS0' })
      await rig.type(machine.id, answers[name])
      await call('machine.forceStop', { id: machine.id })
    }
    expect(snapshots.map(({ name }) => name)).toEqual(expect.arrayContaining([expect.stringMatching(/second|renamed/)]))
  }

  async function removeMade({ makes }: Operation): Promise<void> {
    for (const { id, state } of await call('machine.list', {})) {
      if (id === ids.id || id === ids.template) continue
      expect(makes).toBe(true)
      expect(['saved', 'stopped']).toContain(state)
      if (state === 'saved') {
        await call('machine.start', { id }).catch((error: { code: string }) => expect(error.code).toBe('wrong-state'))
        if (await rig.stateOf(id) === 'running') await call('machine.forceStop', { id })
      }
      await call('machine.delete', { id })
      await call('trash.purge', { id })
    }
  }

  /** @returns milliseconds of the call, where it came to an end */
  function perform({ call: name, params, running }: Operation, killAfterMs: number | undefined): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [script, rig.home, vmHostEntry, running ? ids.id : '', name, filled(params)], { stdio: ['ignore', 'pipe', 'inherit'] })
      let [said, begun, ended] = ['', 0, 0]
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        if (begun !== 0) ended = performance.now()
        else {
          begun = performance.now()
          if (killAfterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfterMs)
        }
      })
      child.on('error', reject)
      child.on('close', () => (said.startsWith('go{') ? reject(new Error(said)) : resolve(said === 'godone' ? ended - begun : undefined)))
    })
  }

  it.each(Object.keys(operations))('%s: the manager killed', async (name) => {
    const operation = operations[name]
    const before = others()
    await rig.manager.shutdown()
    for (const after of [3, 25, 90]) {
      await perform(operation, after)
      // The lock of a killed process would count as held until it is old.
      rmSync(join(rig.home, 'manager.lock'), { recursive: true, force: true })
      await rig.open()
      expectTidy()
      expect(others()).toEqual(before)
      expect(['stopped', 'saved']).toContain(await rig.stateOf(ids.id))
      await removeMade(operation)
      const { snapshots } = await call('snapshot.list', { id: ids.id })
      for (const { id: snapshotId, name, kind } of snapshots) if (name === 'new' || kind === 'undo') await call('snapshot.delete', { id: ids.id, snapshotId })
      await rig.manager.shutdown()
      if (!snapshots.some(({ id }) => id === ids.first)) break
    }
    await rig.open()
    await expectUsable()
  })

  /** The library's machines on a file system of their own while `work` runs, with some MiB to spare. */
  async function onOwnFileSystem(work: () => Promise<void>): Promise<void> {
    await rig.manager.shutdown()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'none', machines()])
    try {
      execFileSync('cp', ['-a', `${pristine()}/.`, machines()])
      await rig.open()
      await work()
      await rig.manager.shutdown()
    } finally {
      execFileSync('umount', ['-l', machines()])
    }
    await rig.open()
  }

  /** While it lasts nothing can be written. */
  const faults = {
    'the disk full': {
      code: 'disk-full',
      begin: () => void spawnSync('dd', ['if=/dev/zero', `of=${join(machines(), '..filler')}`, 'bs=4k'], { stdio: 'ignore' }),
      end: () => rmSync(join(machines(), '..filler')),
    },
    'the folder read-only': {
      code: 'library-read-only',
      begin: () => {
        execFileSync('mount', ['--bind', machines(), machines()])
        execFileSync('mount', ['-o', 'remount,bind,ro', machines()])
      },
      end: () => void execFileSync('umount', ['-l', machines()]),
    },
  } as const

  it.runIf(canMount).each(Object.keys(operations).flatMap((name) => (Object.keys(faults) as (keyof typeof faults)[]).map((fault) => [name, fault] as const)))('%s: %s', async (name, fault) => {
    const operation = operations[name]
    const { code, begin, end } = faults[fault]
    await onOwnFileSystem(async () => {
      if (operation.running) await call('machine.start', { id: ids.id })
      await call('console.open', { id: ids.id, port: 'ttyS0' })
      const before = others()
      const tree = await call('snapshot.list', { id: ids.id })
      begin()
      const failed = await call(operation.call as 'snapshot.take', JSON.parse(filled(operation.params)) as { id: string }).then(() => 'done', (error: { code: string }) => error.code)
      end()
      expect(failed).toBe(code)
      expectTidy()
      expect(others()).toEqual(before)
      expect(await call('snapshot.list', { id: ids.id })).toEqual(tree)
      expect((await call('machine.list', {})).map(({ id }) => id).sort()).toEqual([ids.id, ids.template].sort())
      expect(await rig.stateOf(ids.id)).toBe(operation.running ? 'running' : 'saved')
      if (!operation.running) await call('machine.start', { id: ids.id })
      await rig.type(ids.id, 'Dd')
      await call('machine.forceStop', { id: ids.id })
      await expectUsable()
    })
  })
})

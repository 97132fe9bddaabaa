import { spawn } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { decodeHeader } from '../../src/main/host/state-header'
import { WorkingSets } from '../../src/main/vm-host/working-sets'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

const root = fileURLToPath(new URL('../..', import.meta.url))

describe('snapshots', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  let disk: string
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const list = (id: string): ReturnType<typeof call<'snapshot.list'>> => call('snapshot.list', { id })
  const write = (text: string): void => writeFileSync(disk, Buffer.concat([Buffer.from(text.padEnd(512)), Buffer.alloc((1 << 20) - 512)]))
  const onDisk = (): string => readFileSync(disk).toString('latin1', 0, 512).trim()

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 8)
    disk = join(rig.home, 'disk.img')
    write('one')
    await rig.open()
  })
  afterEach(() => rig.close())

  const disks = (): { path: string; format: 'raw'; readOnly: boolean }[] => [{ path: disk, format: 'raw', readOnly: false }]

  it('of a running machine: it goes on, and comes back to the same instant again and again', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    const taken = await call('snapshot.take', { id, name: 'first', notes: 'why' })
    expect(taken).toMatchObject({ name: 'first', notes: 'why', parent: null, kind: 'user', hasState: true })
    expect(taken.pauseMs).toBeGreaterThan(0)
    await rig.type(id, 'Bb')
    write('two')
    for (let round = 0; round < 2; round++) {
      const { undo } = await call('snapshot.restore', { id, snapshotId: taken.id, start: true })
      expect(undo).not.toBeNull()
      expect(await rig.stateOf(id)).toBe('running')
      expect(onDisk()).toBe('one')
      await rig.type(id, 'Bb')
    }
    const { current, snapshots } = await list(id)
    expect(current).toBe(taken.id)
    expect(snapshots.map(({ name, kind, parent }) => [name, kind, parent])).toEqual(
      [['first', 'user', null], ['Before first', 'undo', taken.id], ['Before first 2', 'undo', taken.id]])
    // And the undo of the first restore: memory and disk of that moment.
    await call('snapshot.restore', { id, snapshotId: snapshots[1].id, keepCurrent: false, start: true })
    expect(onDisk()).toBe('two')
    await rig.type(id, 'Cc')
  })

  it.each([true, false])('says that it is being restored, whether the present is kept (%s) or not', async (keepCurrent) => {
    const { id } = await rig.started()
    const { id: snapshotId } = await call('snapshot.take', { id })
    expect(rig.states.at(-1)).toBe('running')
    rig.states.length = 0
    await call('snapshot.restore', { id, snapshotId, keepCurrent, start: true })
    expect(rig.states).toEqual(['restoring', 'saved', 'starting', 'running'])
  })

  it('of which the guest\'s first pages are noted, and brought in first at the next time', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id })
    const { id: stateId } = decodeHeader('state', readFileSync(rig.machineFolder(id, 'snapshots', snapshotId, 'state.nbs')))
    const list = join(rig.home, 'cache', 'working-sets', `${stateId}.pages`)
    const back = (): Promise<unknown> => call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
    await back()
    await rig.type(id, 'Bb')
    await call('machine.pause', { id })
    await rig.until('what it needed', () => existsSync(list))
    const pages = new WorkingSets(join(list, '..')).load(stateId, (96 << 20) / 4096)
    // The guest's code and its counter; not the 8 MiB that it once filled.
    expect(pages).toEqual(expect.arrayContaining([0x1800000 / 4096]))
    expect(pages.length).toBeLessThan(100)
    // With the list, with a damaged one, and with one that names what is not there.
    for (const bytes of [readFileSync(list), Buffer.from('nothing'), undefined]) {
      if (bytes) writeFileSync(list, bytes)
      else new WorkingSets(join(list, '..')).save(stateId, (96 << 20) / 4096, [1, 24575, 24000])
      await back()
      await rig.type(id, 'Bb')
    }
  })

  it('of a stopped and of a suspended machine; a tree from which the middle is deleted', async () => {
    const { id } = await rig.started({ disks: disks() })
    await call('machine.forceStop', { id })
    const a = await call('snapshot.take', { id })
    expect(a).toMatchObject({ name: 'Snapshot 1', hasState: false })
    write('two')
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.endsWith('!'))
    await rig.type(id, 'Aa')
    await call('machine.suspend', { id })
    const b = await call('snapshot.take', { id, name: 'suspended' })
    expect(b).toMatchObject({ parent: a.id, hasState: true })
    await call('machine.start', { id })
    await rig.type(id, 'Bb')
    await call('machine.forceStop', { id })
    write('three')
    const c = await call('snapshot.take', { id, name: 'third' })
    expect(c).toMatchObject({ parent: b.id, hasState: false })

    await call('snapshot.restore', { id, snapshotId: b.id, keepCurrent: false })
    expect([await rig.stateOf(id), onDisk()]).toEqual(['saved', 'two'])
    await call('machine.start', { id })
    await rig.type(id, 'Bb')
    await call('machine.forceStop', { id })
    await call('snapshot.restore', { id, snapshotId: a.id, keepCurrent: false })
    expect([await rig.stateOf(id), onDisk()]).toEqual(['stopped', 'one'])

    await expect(call('snapshot.change', { id, snapshotId: c.id, name: 'SUSPENDED' })).rejects.toMatchObject({ code: 'name-taken' })
    await expect(call('snapshot.take', { id, name: 'third' })).rejects.toMatchObject({ code: 'name-taken' })
    expect(await call('snapshot.change', { id, snapshotId: c.id, name: 'other', notes: 'n' })).toMatchObject({ name: 'other', notes: 'n' })
    await call('snapshot.delete', { id, snapshotId: b.id })
    expect((await list(id)).snapshots.map(({ name, parent }) => [name, parent])).toEqual([['Snapshot 1', null], ['other', a.id]])
    await expect(call('snapshot.delete', { id, snapshotId: b.id })).rejects.toMatchObject({ code: 'not-found' })
    await call('snapshot.restore', { id, snapshotId: c.id, keepCurrent: false })
    expect(onDisk()).toBe('three')
    expect(readdirSync(rig.machineFolder(id, 'snapshots')).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('brings the settings back that the guest sees, and no others', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id })
    await call('machine.forceStop', { id })
    await call('machine.update', { id, settings: { memoryMiB: 128, notes: 'new', disks: [] } })
    await call('snapshot.restore', { id, snapshotId, start: true })
    expect(await call('machine.get', { id })).toMatchObject({ memoryMiB: 96, notes: 'new', state: 'running', disks: disks() })
    await rig.type(id, 'Bb')
  })

  it('refuses what cannot be done, and leaves everything as it was', async () => {
    const { id } = await rig.started({ disks: disks() })
    const other = await rig.create({ name: 'other', disks: disks() })
    await expect(call('snapshot.take', { id: other.id })).rejects.toMatchObject({ code: 'machine-busy' })
    const { id: snapshotId } = await call('snapshot.take', { id })
    await expect(call('snapshot.restore', { id, snapshotId: other.id })).rejects.toMatchObject({ code: 'not-found' })
    // Two at once: one wins.
    const both = await Promise.allSettled([call('snapshot.take', { id, name: 'x' }), call('snapshot.take', { id, name: 'y' })])
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    // A snapshot whose disk is gone.
    rmSync(rig.machineFolder(id, 'snapshots', snapshotId, 'disk0.img'))
    await call('machine.forceStop', { id })
    write('kept')
    await expect(call('snapshot.restore', { id, snapshotId, keepCurrent: false })).rejects.toThrow()
    expect(onDisk()).toBe('kept')
    expect(await rig.stateOf(id)).toBe('stopped')
    expect(readdirSync(rig.home)).not.toContain('disk.img.nestbox-restored')
    await call('machine.start', { id })
  })

  it('a restore that died after its point of no return is finished at the next start', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id })
    await call('machine.forceStop', { id })
    await call('machine.update', { id, settings: { memoryMiB: 128 } })
    write('two')
    const settings = { memoryMiB: 96 }
    for (const done of [0, 1, 2]) {
      await rig.manager.shutdown()
      // As the process left it: the journal written, and some of the moves made.
      const saved = rig.machineFolder(id, 'saved', 'state.nbs')
      rmSync(saved, { force: true })
      mkdirSync(rig.machineFolder(id, 'saved'), { recursive: true })
      const snapshot = (file: string): string => rig.machineFolder(id, 'snapshots', snapshotId, file)
      writeFileSync(`${disk}${done > 0 ? '' : '.nestbox-restored'}`, readFileSync(snapshot('disk0.img')))
      linkSync(snapshot('state.nbs'), `${saved}${done > 1 ? '' : '.nestbox-restored'}`)
      const moves = [{ from: `${disk}.nestbox-restored`, to: disk }, { from: `${saved}.nestbox-restored`, to: saved }]
      writeFileSync(rig.machineFolder(id, 'snapshots', 'switch.json'), JSON.stringify({ version: 1, moves, removals: [], settings, current: snapshotId }))
      await rig.open()
      expect(await call('machine.get', { id })).toMatchObject({ state: 'saved', memoryMiB: 96 })
      expect(onDisk()).toBe('one')
      expect(existsSync(rig.machineFolder(id, 'snapshots', 'switch.json'))).toBe(false)
      await call('console.open', { id, port: 'ttyS0' })
      await call('machine.start', { id })
      await rig.type(id, 'Bb')
      await call('machine.forceStop', { id })
      write('two')
    }
  })

  it('killed at any moment of a restore, the machine is in the old or the new state', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id, name: 's' })
    await call('machine.forceStop', { id })
    await rig.manager.shutdown()
    const script = `${root}.cache/tests/restore-${process.pid}.cjs`
    const source = `import { createManager } from './src/main/services/manager'
      void (async () => {
        const [home, id, snapshotId] = process.argv.slice(2)
        const manager = await createManager({ home, vmHostEntry: 'none' })
        const client = manager.connect(() => undefined)
        process.stdout.write('go')
        await client.call('snapshot.restore', { id, snapshotId, keepCurrent: false })
        process.stdout.write('done')
        await manager.shutdown()
      })()`
    buildSync({ stdin: { contents: source, resolveDir: root, loader: 'ts' }, outfile: script, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
    const outcomes = new Set<string>()
    for (let round = 0; round < 12; round++) {
      write('two')
      rmSync(rig.machineFolder(id, 'saved', 'state.nbs'), { force: true })
      await new Promise<void>((resolve) => {
        const child = spawn(process.execPath, [script, rig.home, id, snapshotId], { stdio: ['ignore', 'pipe', 'inherit'] })
        child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), round * 1.5))
        child.on('close', () => resolve())
      })
      // Its lock would count as held until it is old.
      rmSync(join(rig.home, 'manager.lock'), { recursive: true, force: true })
      await rig.open()
      const state = `${await rig.stateOf(id)} ${onDisk()}`
      outcomes.add(state)
      expect(['stopped two', 'saved one']).toContain(state)
      expect(readdirSync(rig.machineFolder(id, 'snapshots')).sort()).toEqual([snapshotId, 'tree.json'].sort())
      expect(readdirSync(rig.home).filter((name) => name.startsWith('disk'))).toEqual(['disk.img'])
      expect(statSync(rig.machineFolder(id, 'snapshots', snapshotId, 'state.nbs')).size).toBeGreaterThan(1 << 20)
      await rig.manager.shutdown()
    }
    expect(outcomes.size).toBeGreaterThan(0)
    await rig.open()
  })
})

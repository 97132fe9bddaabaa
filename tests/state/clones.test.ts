/** Machines made from others, templates, and machines that travel in files. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Machine } from '../../src/preload/contract'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8q0yqk1Wl0Vq2Z7K0m4b3d8u0m9b4oC1E3 me@here'

describe('clones, templates, archives', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  let disk: string
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const write = (text: string): void => writeFileSync(disk, Buffer.concat([Buffer.from(text.padEnd(512)), Buffer.alloc((1 << 20) - 512)]))
  /** What the guest would read, by QEMU's own tool where it is not raw. */
  function bytesOf({ path, format }: Machine['disks'][number]): Buffer {
    if (format === 'raw') return readFileSync(path)
    const raw = join(rig.home, 'converted.img')
    execFileSync('qemu-img', ['check', '-q', path])
    execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', path, raw])
    return readFileSync(raw)
  }
  const onDisk = ({ disks }: Machine): string => bytesOf(disks[0]).toString('latin1', 0, 512).trim()
  const disks = (): Machine['disks'] => [{ path: disk, format: 'raw', readOnly: false }]
  const names = async (): Promise<string[]> => (await call('machine.list', {})).map(({ name }) => name)
  const folders = (): string[] => readdirSync(join(rig.home, 'machines')).sort()

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

  /** Starts it and continues its count. */
  async function goesOn({ id }: Machine, answer: string): Promise<void> {
    await call('console.open', { id, port: 'ttyS0' })
    await call('machine.start', { id })
    await rig.type(id, answer)
    await call('machine.forceStop', { id })
  }

  it('clones a machine that is off, suspended, and a snapshot; a running one is refused', async () => {
    const a = await rig.started({ disks: disks(), notes: 'n', tags: ['t'] })
    await rig.type(a.id, 'Aa')
    await expect(call('machine.clone', { id: a.id })).rejects.toMatchObject({ code: 'wrong-state' })
    const { id: snapshotId } = await call('snapshot.take', { id: a.id, name: 's' })
    await rig.type(a.id, 'Bb')
    write('two')
    // Of a snapshot, while the machine runs.
    const ofSnapshot = await call('machine.clone', { id: a.id, name: 'from s', snapshotId })
    expect(ofSnapshot).toMatchObject({ name: 'from s', state: 'saved', notes: 'n', tags: ['t'], origin: { kind: 'clone', machineId: a.id, snapshotId, linked: false } })
    expect(onDisk(ofSnapshot)).toBe('one')
    await call('machine.suspend', { id: a.id })
    const ofSuspended = await call('machine.clone', { id: a.id })
    expect(ofSuspended).toMatchObject({ name: 'tally 2', state: 'saved' })
    expect(onDisk(ofSuspended)).toBe('two')
    for (const [machine, answer] of [[ofSuspended, 'Cc'], [ofSnapshot, 'Bb'], [a, 'Cc']] as const) await goesOn(machine, answer)
    const ofStopped = await call('machine.clone', { id: a.id })
    expect(ofStopped).toMatchObject({ name: 'tally 3', state: 'stopped' })
    writeFileSync(ofStopped.disks[0].path, 'changed')
    expect(readFileSync(disk).toString('latin1', 0, 3)).toBe('two')
    expect(new Set((await call('machine.list', {})).map(({ id }) => id)).size).toBe(4)
    await expect(call('machine.clone', { id: a.id, name: 'FROM S' })).rejects.toMatchObject({ code: 'name-taken' })
    await expect(call('machine.clone', { id: a.id, snapshotId: ofStopped.id })).rejects.toMatchObject({ code: 'not-found' })
    // The clone of a clone whose parent is gone stands alone.
    await call('machine.delete', { id: a.id })
    await goesOn(await call('machine.clone', { id: ofStopped.id, name: 'last' }), 'Aa')
  })

  it('templates cannot start or change; machines made from them run at once', async () => {
    const { id } = await rig.started({ disks: disks() })
    await rig.type(id, 'Aa')
    await expect(call('template.create', { id })).rejects.toMatchObject({ code: 'wrong-state' })
    await call('machine.suspend', { id })
    expect(await call('template.create', { id })).toMatchObject({ isTemplate: true, state: 'saved' })
    for (const refused of [
      () => call('machine.start', { id }), () => call('machine.update', { id, settings: { memoryMiB: 128 } }), () => call('snapshot.take', { id }),
      () => call('machine.discardSaved', { id }), () => call('template.create', { id }),
    ]) await expect(refused()).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('template') as string })
    expect(await call('machine.update', { id, settings: { name: 'base', notes: 'x', memoryMiB: 96 } })).toMatchObject({ name: 'base', notes: 'x' })

    const start = performance.now()
    const first = await call('machine.create', { settings: { name: 'first' }, template: id })
    const ms = performance.now() - start
    expect(first).toMatchObject({ name: 'first', state: 'saved', origin: { kind: 'template', machineId: id, name: 'base', linked: true } })
    expect(first.disks[0].format).toBe('qcow2')
    expect(onDisk(first)).toBe('one')
    expect(first.id).not.toBe(id)
    // Loose: a noisy computer. The figure itself is the bench's.
    expect(ms).toBeLessThan(5000)
    await goesOn(first, 'Bb')
    const second = await call('machine.create', { settings: { name: 'second', memoryMiB: 64 }, template: id, linked: false, withState: false, cloudInit: { hostname: 'h', user: 'me', sshKeys: [KEY] } })
    expect(second).toMatchObject({ state: 'stopped', memoryMiB: 64 })
    expect(second.disks[1]).toMatchObject({ format: 'raw', readOnly: true })
    const seed = readFileSync(second.disks[1].path).toString('latin1')
    for (const text of ['cidata', '#cloud-config', KEY, second.id, '"hostname": "h"', '"name": "me"']) expect(seed).toContain(text)
    await expect(call('machine.create', { settings: { name: 'third', memoryMiB: 64 }, template: id })).rejects.toMatchObject({ code: 'invalid-argument' })
    await expect(call('machine.create', { settings: { name: 'third' }, template: id, cloudInit: { hostname: 'h' } })).rejects.toMatchObject({ code: 'invalid-argument' })
    await expect(call('machine.create', { settings: { name: 'third' }, template: first.id })).rejects.toMatchObject({ code: 'wrong-state' })
    await expect(call('machine.create', { settings: { name: 'x' }, template: id, cloudInit: { sshKeys: [`${KEY}\nmore`] } })).rejects.toMatchObject({ code: 'invalid-argument' })

    await call('machine.delete', { id: second.id })
    const [template] = await call('template.list', {})
    expect(template).toMatchObject({ id, hasState: true })
    expect(template.madeFrom.map(({ name, linked, inTrash }) => [name, linked, inTrash])).toEqual([['first', true, false], ['second', false, true]])
    // Its disk is nobody else's to write.
    const thief = await rig.create({ name: 'thief', disks: disks() })
    await expect(call('machine.start', { id: thief.id })).rejects.toMatchObject({ code: 'machine-busy', message: expect.stringContaining("template 'base'") as string })
    await expect(call('template.release', { id: first.id })).rejects.toMatchObject({ code: 'wrong-state' })
    await expect(call('template.delete', { id: first.id })).rejects.toMatchObject({ code: 'wrong-state' })
    await rig.manager.shutdown()
    await rig.open()
    expect(await call('machine.get', { id })).toMatchObject({ isTemplate: true, name: 'base' })
    // What a linked clone needs stays, also while the clone is in the trash.
    for (const refused of [() => call('template.release', { id }), () => call('template.delete', { id }), () => call('machine.delete', { id })]) {
      await expect(refused()).rejects.toMatchObject({ code: 'has-clones', message: expect.stringMatching(/'first'\.$/) as string, details: { machines: [{ id: first.id, name: 'first' }] } })
    }
    await call('machine.delete', { id: first.id })
    await expect(call('template.delete', { id })).rejects.toMatchObject({ code: 'has-clones', message: expect.stringContaining("'first' (in the trash)") as string })
    await call('trash.purge', { id: first.id })
    expect(await call('template.release', { id })).not.toHaveProperty('isTemplate')
    await expect(call('template.create', { id })).rejects.toMatchObject({ code: 'machine-busy', message: expect.stringContaining('thief') as string })
    await call('machine.delete', { id: thief.id })
    const copy = await call('template.create', { id, name: 'copy' })
    expect(copy).toMatchObject({ isTemplate: true, name: 'copy', origin: { machineId: id } })
    await call('template.delete', { id: copy.id })
    expect(await names()).toEqual(['base'])
  })

  it('linked clones hold what differs; what they are laid over stays and is not changed', async () => {
    const a = await rig.create({ disks: disks() })
    // Of a machine as it is: a snapshot is taken first.
    const b = await call('machine.clone', { id: a.id, name: 'b', linked: true })
    const [snapshot] = (await call('snapshot.list', { id: a.id })).snapshots
    expect(b).toMatchObject({ origin: { kind: 'clone', machineId: a.id, snapshotId: snapshot.id, linked: true }, disks: [{ format: 'qcow2' }] })
    expect(snapshot).toMatchObject({ name: 'Snapshot 1', notes: '', neededBy: [{ id: b.id, name: 'b', linked: true, inTrash: false }] })
    await call('machine.update', { id: b.id, settings: { name: 'b2' } })
    await call('machine.delete', { id: b.id })
    expect((await call('snapshot.list', { id: a.id })).snapshots[0].neededBy).toEqual([{ id: b.id, name: 'b2', linked: true, inTrash: true }])
    await call('trash.restore', { id: b.id })
    await call('machine.update', { id: b.id, settings: { name: 'b' } })
    const named = await call('machine.clone', { id: a.id, name: 'named', linked: true, snapshotName: 'For named' })
    expect((await call('snapshot.list', { id: a.id })).snapshots.map(({ name, neededBy }) => [name, neededBy?.[0].name])).toEqual([['Snapshot 1', 'b'], ['For named', 'named']])
    await call('machine.delete', { id: named.id })
    await call('trash.purge', { id: named.id })
    expect((await call('snapshot.list', { id: a.id })).snapshots[1]).not.toHaveProperty('neededBy')
    expect(statSync(b.disks[0].path).blocks * 512).toBeLessThan(statSync(disk).size)
    write('two')
    expect(onDisk(b)).toBe('one')
    // Written by the guest's end of things, here QEMU's tool: the parent keeps its bytes.
    const base = readFileSync(rig.machineFolder(a.id, 'snapshots', snapshot.id, 'disk0.img'))
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 0x62 0 512', b.disks[0].path])
    expect(readFileSync(rig.machineFolder(a.id, 'snapshots', snapshot.id, 'disk0.img')).equals(base)).toBe(true)
    expect(onDisk(b)).toBe('b'.repeat(512))
    // Of a linked clone: another link of the chain, and a full clone that needs nobody.
    const c = await call('machine.clone', { id: b.id, name: 'c', linked: true })
    const full = await call('machine.clone', { id: b.id, name: 'full' })
    expect(full.origin).toMatchObject({ linked: false })
    for (const machine of [c, full]) expect(onDisk(machine)).toBe('b'.repeat(512))
    expect(execFileSync('qemu-img', ['info', full.disks[0].path], { encoding: 'utf8' })).not.toContain('backing')
    await goesOn(c, 'Aa')
    await expect(call('snapshot.delete', { id: a.id, snapshotId: snapshot.id })).rejects.toMatchObject({ code: 'has-clones', details: { machines: [{ id: b.id, name: 'b' }] } })
    await expect(call('machine.delete', { id: a.id })).rejects.toMatchObject({ code: 'has-clones' })
    await expect(call('machine.delete', { id: b.id })).rejects.toMatchObject({ code: 'has-clones', details: { machines: [{ id: c.id, name: 'c' }] } })
    // Export takes the whole disk along.
    const path = join(rig.home, 'b.nestbox')
    await call('machine.export', { id: b.id, path })
    await call('machine.export', { id: b.id, path: join(rig.home, 'b.ova') })
    for (const file of [path, join(rig.home, 'b.ova')]) {
      const { machine } = await call('machine.import', { path: file })
      expect(machine.disks[0].format).toBe('raw')
      expect(onDisk(machine)).toBe('b'.repeat(512))
      expect(machine).not.toHaveProperty('origin')
    }
    // A fork of a linked clone needs what its parent needs.
    await call('machine.start', { id: b.id })
    const forked = await call('machine.fork', { id: b.id, name: 'forked' })
    for (const { id } of [b, forked]) await call('machine.forceStop', { id })
    expect(onDisk(forked)).toBe('b'.repeat(512))
    await expect(call('snapshot.delete', { id: a.id, snapshotId: snapshot.id })).rejects.toMatchObject({ message: expect.stringContaining("'b', 'forked'") as string })
    // A base that was changed behind our back.
    writeFileSync(rig.machineFolder(a.id, 'snapshots', snapshot.id, 'disk0.img'), Buffer.alloc(1 << 20, 'z'))
    await expect(call('machine.start', { id: b.id })).rejects.toMatchObject({ code: 'bad-disk', message: expect.stringContaining('has been changed') as string })
    rmSync(rig.machineFolder(a.id, 'snapshots', snapshot.id, 'disk0.img'))
    await expect(call('machine.start', { id: b.id })).rejects.toMatchObject({ code: 'file-missing' })
    await goesOn(full, 'Aa')
  })

  it('forks a running machine: both go on from one instant, each with its own disk', async () => {
    const a = await rig.started({ disks: disks() })
    await rig.type(a.id, 'Aa')
    const start = performance.now()
    const child = await call('machine.fork', { id: a.id })
    const ms = performance.now() - start
    expect(child).toMatchObject({ name: 'tally 2', state: 'running', origin: { kind: 'fork', machineId: a.id, linked: false } })
    expect(child.pauseMs).toBeGreaterThan(0)
    expect(ms).toBeLessThan(20_000)
    expect(await rig.stateOf(a.id)).toBe('running')
    await call('console.open', { id: child.id, port: 'ttyS0' })
    await rig.type(child.id, 'Bb')
    await rig.type(child.id, 'Cc')
    await rig.type(a.id, 'Bb')
    await rig.type(child.id, 'Dd')
    await rig.type(a.id, 'Cc')
    write('two')
    expect(onDisk(child)).toBe('one')
    await expect(call('machine.fork', { id: a.id, name: 'TALLY 2' })).rejects.toMatchObject({ code: 'name-taken' })
    const grandchild = await call('machine.fork', { id: child.id, name: 'third' })
    await call('console.open', { id: grandchild.id, port: 'ttyS0' })
    await rig.type(grandchild.id, 'Ee')
    // A template of what runs, and a machine that goes on from there.
    const template = await call('template.create', { id: grandchild.id, name: 'live' })
    expect(template).toMatchObject({ isTemplate: true, state: 'saved' })
    const made = await call('machine.create', { settings: { name: 'made' }, template: template.id })
    for (const { id } of [a, child, grandchild]) await call('machine.forceStop', { id })
    await goesOn(made, 'Ff')
    await expect(call('machine.fork', { id: a.id })).rejects.toMatchObject({ code: 'wrong-state' })
    // The state was used up; what is left is a machine like others.
    expect(readdirSync(rig.machineFolder(child.id, 'saved'))).toEqual([])
    await goesOn(child, 'Aa')
  })

  it('a fork has the translations of its parent\'s snapshot, though the parent runs on', async () => {
    const a = await rig.started({ disks: disks() })
    await rig.type(a.id, 'Aa')
    const figures = async (id: string): Promise<{ blocks: number; adopted: number }> => {
      for (let i = 0; i < 500; i++) {
        const found = (await call('machine.figures', { id }))?.translations
        if (found && found.blocks + found.adopted > 0) return found
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      throw new Error(`${id} runs without translations`)
    }
    expect((await figures(a.id)).adopted).toBe(0)
    await call('snapshot.take', { id: a.id, name: 'warm' })
    const child = await call('machine.fork', { id: a.id })
    expect((await figures(child.id)).adopted).toBeGreaterThan(0)
    expect(readdirSync(join(rig.home, 'cache', 'translations')).filter((name) => name.endsWith('.part'))).toEqual([])
  })

  it('our archive brings everything back: disks, memory, snapshots, notes', async () => {
    const a = await rig.started({ disks: disks(), notes: 'ü', group: 'g/h' })
    await rig.type(a.id, 'Aa')
    await call('snapshot.take', { id: a.id, name: 'with memory', notes: 'why' })
    await call('machine.suspend', { id: a.id })
    write('two')
    const path = join(rig.home, 'out.nestbox')
    const out = await call('machine.export', { id: a.id, path })
    expect(out).toEqual({ path, format: 'nestbox', bytes: statSync(path).size, warnings: [] })
    await expect(call('machine.export', { id: a.id, path })).rejects.toMatchObject({ code: 'name-taken' })
    await call('machine.export', { id: a.id, path, overwrite: true })
    // Nothing of the first machine is used.
    await call('machine.delete', { id: a.id })
    for (const { id } of await call('trash.list', {})) await call('trash.purge', { id })
    rmSync(disk)
    const { machine, warnings } = await call('machine.import', { path })
    expect(warnings).toEqual([])
    expect(machine).toMatchObject({ name: 'tally', notes: 'ü', group: 'g/h', state: 'saved', memoryMiB: 96 })
    expect(machine.id).not.toBe(a.id)
    expect([machine.kernel, ...machine.disks.map((d) => d.path)].every((file) => file.startsWith(rig.machineFolder(machine.id)))).toBe(true)
    expect(onDisk(machine)).toBe('two')
    await goesOn(machine, 'Bb')
    const { snapshots, current } = await call('snapshot.list', { id: machine.id })
    expect(snapshots).toMatchObject([{ name: 'with memory', notes: 'why', hasState: true }])
    expect(current).toBe(snapshots[0].id)
    await call('snapshot.restore', { id: machine.id, snapshotId: snapshots[0].id, keepCurrent: false })
    expect(onDisk(machine)).toBe('one')
    await goesOn(machine, 'Bb')
    expect(await call('machine.import', { path })).toMatchObject({ machine: { name: 'tally 2' } })
    expect(await call('machine.import', { path, name: 'mine' })).toMatchObject({ machine: { name: 'mine' } })
    await expect(call('machine.import', { path, name: 'mine' })).rejects.toMatchObject({ code: 'name-taken' })
  })

  it('OVA goes out and comes back; its disks are what qemu-img reads', async () => {
    const a = await rig.create({ disks: disks(), notes: 'about' })
    const path = join(rig.home, 'out.ova')
    expect(await call('machine.export', { id: a.id, path })).toMatchObject({ format: 'ova', warnings: [{ key: 'export.noBootLoader' }] })
    execFileSync('tar', ['-xf', path, '-C', rig.home])
    execFileSync('qemu-img', ['convert', '-O', 'raw', join(rig.home, 'tally-disk1.vmdk'), join(rig.home, 'back.img')])
    expect(readFileSync(join(rig.home, 'back.img')).equals(readFileSync(disk))).toBe(true)
    const { machine, warnings } = await call('machine.import', { path })
    expect(warnings).toEqual([])
    expect(machine).toMatchObject({ name: 'tally 2', notes: 'about', memoryMiB: 96, commandLine: a.commandLine })
    expect(readFileSync(machine.disks[0].path).equals(readFileSync(disk))).toBe(true)
    await goesOn(machine, 'Aa')
    // The same files without the archive around them.
    expect(await call('machine.import', { path: join(rig.home, 'tally.ovf') })).toMatchObject({ machine: { name: 'tally 3' } })
  })

  it('refuses places and files that cannot be, and leaves nothing behind', async () => {
    const a = await rig.create({ disks: disks() })
    const path = join(rig.home, 'a.nestbox')
    const before = folders()
    for (const [params, code] of [
      [{ path: 'a.nestbox' }, 'invalid-argument'], [{ path: join(rig.home, 'a.zip') }, 'invalid-argument'], [{ path: join(rig.home, 'none', 'a.nestbox') }, 'file-missing'],
      [{ path: disk, format: 'ova', overwrite: true }, 'invalid-argument'], [{ path: rig.machineFolder(a.id, 'x.nestbox') }, 'invalid-argument'],
    ] as const) await expect(call('machine.export', { id: a.id, ...params })).rejects.toMatchObject({ code })
    await call('machine.export', { id: a.id, path })
    const good = readFileSync(path)
    const packed = good.lastIndexOf(Buffer.from('1f8b', 'hex')) + 12
    const bad = join(rig.home, 'bad.nestbox')
    for (const [bytes, code] of [
      [good.subarray(0, good.length / 2), /bad-archive/], [Buffer.from('nothing'), /bad-archive/], [Buffer.alloc(0), /bad-archive/],
      [Buffer.concat([good.subarray(0, packed), Buffer.from([good[packed] ^ 1]), good.subarray(packed + 1)]), /bad-archive|checksum-mismatch/],
    ] as const) {
      writeFileSync(bad, bytes)
      await expect(call('machine.import', { path: bad })).rejects.toMatchObject({ code: expect.stringMatching(code) as string })
    }
    await expect(call('machine.import', { path: join(rig.home, 'none.ova') })).rejects.toMatchObject({ code: 'file-missing' })
    rmSync(disk)
    for (const failing of [() => call('machine.clone', { id: a.id }), () => call('machine.export', { id: a.id, path: join(rig.home, 'b.ova') })]) {
      await expect(failing()).rejects.toMatchObject({ code: 'file-missing', message: expect.stringContaining(disk) as string })
    }
    expect(folders()).toEqual(before)
    expect(existsSync(join(rig.home, 'b.ova'))).toBe(false)
    expect(readdirSync(rig.home).filter((name) => name.includes('.tmp'))).toEqual([])
  })
})

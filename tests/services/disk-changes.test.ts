/** What changes disks through the manager: compacting, repairing, and saying where a moved backing file is. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, openSync, closeSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Task } from '../../src/preload/contract'
import { openDisk } from '../../src/main/host/disks/open'
import { createQcow2, writeQcow2 } from '../../src/main/host/disks/qcow2/create'
import { identityOf } from '../../src/main/host/disks/qcow2/identity'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { useManager } from '../fixtures/use-manager'

const MIB = 1 << 20
const REFCOUNT_TABLE_FIELD = 48
const rig = useManager()
const { call } = rig

const put = (path: string, offset: number, bytes: Uint8Array): void => {
  const file = openSync(path, 'r+')
  writeSync(file, bytes, 0, bytes.length, offset)
  closeSync(file)
}

/** What a guest would read. */
async function contents(path: string): Promise<Buffer> {
  const raw = join(rig.dir, 'contents.raw')
  rmSync(raw, { force: true })
  await call('disk.convert', { path, target: raw, format: 'raw' })
  return readFileSync(raw)
}

/** A qcow2 disk with some data. */
async function filled(path: string): Promise<Buffer> {
  const raw = join(rig.dir, 'filled.raw')
  const bytes = Buffer.alloc(4 * MIB)
  for (let at = 0; at < bytes.length; at += 100_003) bytes.writeUInt32LE(at + 1, at)
  writeFileSync(raw, bytes)
  const source = await openDisk(raw, true)
  await writeQcow2(source, path, {})
  await source.close()
  return bytes
}

async function machineWith(path: string, name = 'one'): Promise<string> {
  const kernel = join(rig.dir, 'kernel')
  writeFileSync(kernel, buildTinyKernel(GUESTS.hello))
  return (await call('machine.create', { settings: { name, kernel, memoryMiB: 32, disks: [{ path, format: 'qcow2', readOnly: false }] } })).id
}

describe('compacting', () => {
  it('gives back what the guest zeroed, and the guest reads the same', async () => {
    const disk = join(rig.dir, 'a.qcow2')
    await filled(disk)
    const image = await openDisk(disk, false)
    await image.write(0, new Uint8Array(3 * MIB))
    await image.close()
    const before = await contents(disk)
    const { before: old, after } = await call('disk.compact', { path: disk })
    expect(old - after).toBeGreaterThan(2 * MIB)
    expect((await contents(disk)).equals(before)).toBe(true)
    execFileSync('qemu-img', ['check', disk], { stdio: 'ignore' })
    const tasks: Task[] = await call('task.list', {})
    expect(tasks.find(({ kind }) => kind === 'disk.compact')).toMatchObject({ subject: 'a.qcow2', state: 'done', progress: 1 })
  })

  it('refuses what others lie over, a template’s disk, and formats that cannot be', async () => {
    const [base, top, vdi] = [join(rig.dir, 'base.qcow2'), join(rig.dir, 'top.qcow2'), join(rig.dir, 'a.vdi')]
    await filled(base)
    await createQcow2(top, { sizeBytes: 4 * MIB, backing: { path: 'base.qcow2', format: 'qcow2' } })
    const id = await machineWith(top)
    const bytes = readFileSync(base)
    await expect(call('disk.compact', { path: base })).rejects.toMatchObject({ code: 'has-clones' })
    await expect(call('disk.repair', { path: base })).rejects.toMatchObject({ code: 'has-clones' })
    await call('template.create', { id })
    const own = (await call('machine.get', { id })).disks[0].path
    await expect(call('disk.compact', { path: own })).rejects.toMatchObject({ code: 'wrong-state' })
    expect(readFileSync(base).equals(bytes)).toBe(true)
    await call('disk.convert', { path: base, target: vdi, format: 'vdi' })
    await expect(call('disk.compact', { path: vdi })).rejects.toMatchObject({ code: 'unsupported' })
    await expect(call('disk.compact', { path: join(rig.dir, 'none') })).rejects.toMatchObject({ code: 'file-missing' })
  })
})

describe('repairing', () => {
  it('makes wrong reference counts right and keeps the data', async () => {
    const disk = join(rig.dir, 'a.qcow2')
    const bytes = await filled(disk)
    const image = readFileSync(disk)
    const block = Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(REFCOUNT_TABLE_FIELD))))
    put(disk, block + 2 * 5, Uint8Array.of(0, 0))
    expect((await call('disk.check', { path: disk })).corruptions).toBeGreaterThan(0)
    expect(await call('disk.repair', { path: disk })).toEqual({ corruptions: 0, wastedBytes: 0, problems: [] })
    expect((await contents(disk)).equals(bytes)).toBe(true)
    execFileSync('qemu-img', ['check', disk], { stdio: 'ignore' })
  })

  it('leaves a disk with damaged tables as it is, and says where', async () => {
    const disk = join(rig.dir, 'a.qcow2')
    await filled(disk)
    put(disk, 40, Uint8Array.of(0, 0, 0, 0, 0x7f, 0xff, 0, 0)) // the L1 table lies beyond the file
    const before = readFileSync(disk)
    await expect(call('disk.repair', { path: disk })).rejects.toMatchObject({ code: 'bad-disk', message: expect.stringContaining(disk) as string })
    expect(readFileSync(disk).equals(before)).toBe(true)
  })
})

describe('a backing file that was moved', () => {
  const over = async (base: string, top: string): Promise<void> => createQcow2(top, { sizeBytes: 4 * MIB, backing: { path: base, format: 'qcow2', identity: await identityOf(base) } })

  it('is found again, and images over the one that was told keep what they know of it', async () => {
    mkdirSync(join(rig.dir, 'elsewhere'))
    const [base, moved, middle, top] = [join(rig.dir, 'base.qcow2'), join(rig.dir, 'elsewhere', 'base.qcow2'), join(rig.dir, 'middle.qcow2'), join(rig.dir, 'top.qcow2')]
    const bytes = await filled(base)
    await over(base, middle)
    await over(middle, top)
    const id = await machineWith(top)
    renameSync(base, moved)
    await expect(call('disk.convert', { path: top, target: join(rig.dir, 'x.raw'), format: 'raw' })).rejects.toMatchObject({ code: 'bad-disk' })
    await expect(call('disk.rebase', { path: middle })).rejects.toMatchObject({ code: 'file-missing' })
    const { layers } = await call('disk.rebase', { path: middle, backing: moved })
    expect(layers.map(({ path, problem }) => [path, problem])).toEqual([[middle, undefined], [moved, undefined]])
    expect((await call('disk.info', { path: top })).layers.map(({ problem }) => problem)).toEqual([undefined, undefined, undefined])
    expect((await contents(top)).equals(bytes)).toBe(true)
    expect((await call('disk.list', {})).find(({ path }) => path === top)?.usedBy[0].machineId).toBe(id)
  })

  it('is refused where it is another one, until the person says that it is right', async () => {
    const [base, other, top] = [join(rig.dir, 'base.qcow2'), join(rig.dir, 'other.qcow2'), join(rig.dir, 'top.qcow2')]
    await filled(base)
    await over(base, top)
    copyFileSync(base, other)
    utimesSync(other, new Date(), new Date(2001, 1, 1))
    const before = readFileSync(top)
    await expect(call('disk.rebase', { path: top, backing: other })).rejects.toMatchObject({ code: 'bad-disk', details: { change: expect.stringContaining('2001') as string } })
    expect(readFileSync(top).equals(before)).toBe(true)
    expect((await call('disk.rebase', { path: top, backing: other, acceptChange: true })).layers[1]).toMatchObject({ path: other })
    expect(statSync(top).size).toBe(before.length)
  })

  it('cannot be the image itself, nor one that lies over it', async () => {
    const [base, top] = [join(rig.dir, 'base.qcow2'), join(rig.dir, 'top.qcow2')]
    await filled(base)
    await over(base, top)
    await expect(call('disk.rebase', { path: top, backing: top, acceptChange: true })).rejects.toMatchObject({ code: 'invalid-argument' })
    await expect(call('disk.rebase', { path: base, backing: top })).rejects.toMatchObject({ code: 'invalid-argument' })
  })
})

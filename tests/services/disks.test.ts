/** Disks through the manager: chains with their real sizes, new disks, copies in other formats. */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { useManager } from '../fixtures/use-manager'

const MIB = 1 << 20
const rig = useManager()
const { call } = rig

describe('disks', () => {
  it('are listed once with their chain, real sizes and machines', async () => {
    const [base, top, kernel] = [join(rig.dir, 'base.img'), join(rig.dir, 'top.qcow2'), join(rig.dir, 'kernel')]
    writeFileSync(kernel, buildTinyKernel(GUESTS.hello))
    await call('disk.create', { path: base, format: 'raw', sizeBytes: 64 * MIB })
    await createQcow2(top, { sizeBytes: 64 * MIB, backing: { path: 'base.img', format: 'raw' } })
    const { layers, usedBy } = await call('disk.info', { path: top })
    expect(layers.map(({ path, format, sizeBytes }) => [path, format, sizeBytes])).toEqual([[top, 'qcow2', 64 * MIB], [base, 'raw', 64 * MIB]])
    expect(layers[1].storedBytes).toBeLessThan(MIB)
    expect(usedBy).toEqual([])
    expect(await call('disk.list', {})).toEqual([])
    const settings = { kernel, memoryMiB: 32, disks: [{ path: top, format: 'qcow2' as const, readOnly: true }] }
    for (const name of ['one', 'two']) await call('machine.create', { settings: { ...settings, name } })
    const disks = await call('disk.list', {})
    expect(disks.map(({ path, layers: of, usedBy: by }) => [path, of.length, by.map(({ name, readOnly }) => [name, readOnly]).sort()]))
      .toEqual([[top, 2, [['one', true], ['two', true]]]])
  })

  it('say what is wrong with a layer instead of failing', async () => {
    const [base, top] = [join(rig.dir, 'base.img'), join(rig.dir, 'top.qcow2')]
    await call('disk.create', { path: base, format: 'raw', sizeBytes: MIB })
    await createQcow2(top, { sizeBytes: MIB, backing: { path: 'base.img', format: 'raw' } })
    rmSync(base)
    const { layers } = await call('disk.info', { path: top })
    expect(layers[1]).toEqual({ path: base, problem: { key: 'disk.missing', values: { path: base } } })
    writeFileSync(base, Buffer.alloc(MIB, 1))
    expect((await call('disk.info', { path: top })).layers[0].problem).toMatchObject({ key: 'disk.baseChanged', values: { path: base } })
  })

  it('are created, and never over a file', async () => {
    const path = join(rig.dir, 'new.qcow2')
    await call('disk.create', { path, format: 'qcow2', sizeBytes: 1 << 30 })
    expect(statSync(path).size).toBeLessThan(MIB)
    const before = readFileSync(path)
    await expect(call('disk.create', { path, format: 'raw', sizeBytes: MIB })).rejects.toMatchObject({ code: 'name-taken' })
    expect(readFileSync(path).equals(before)).toBe(true)
    await expect(call('disk.create', { path: join(rig.dir, 'none', 'x'), format: 'raw', sizeBytes: MIB })).rejects.toMatchObject({ code: 'file-missing' })
    await expect(call('disk.create', { path: 'x', format: 'raw', sizeBytes: MIB })).rejects.toMatchObject({ code: 'invalid-argument' })
  })

  it.each(['qcow2', 'vdi', 'vmdk', 'vhd', 'vhdx'] as const)('become %s and raw again, byte for byte', async (format) => {
    const [raw, other, back] = [join(rig.dir, 'a.raw'), join(rig.dir, `a.${format}`), join(rig.dir, 'b.raw')]
    const bytes = Buffer.alloc(4 * MIB)
    for (let at = 0; at < bytes.length; at += 300_007) bytes.writeUInt32LE(at, at)
    writeFileSync(raw, bytes)
    expect((await call('disk.convert', { path: raw, target: other, format })).layers).toMatchObject([{ format, sizeBytes: 4 * MIB }])
    await call('disk.convert', { path: other, target: back, format: 'raw' })
    expect(readFileSync(back).equals(bytes)).toBe(true)
  })

  it('are checked and have another size, a smaller one only where it is meant, and never below others', async () => {
    const [base, top] = [join(rig.dir, 'base.qcow2'), join(rig.dir, 'top.qcow2')]
    await call('disk.create', { path: base, format: 'qcow2', sizeBytes: MIB })
    expect(await call('disk.check', { path: base })).toEqual({ corruptions: 0, wastedBytes: 0, problems: [] })
    expect((await call('disk.resize', { path: base, sizeBytes: 8 * MIB })).layers[0].sizeBytes).toBe(8 * MIB)
    await expect(call('disk.resize', { path: base, sizeBytes: 8 * MIB })).rejects.toMatchObject({ code: 'invalid-argument' })
    await expect(call('disk.resize', { path: base, sizeBytes: MIB })).rejects.toMatchObject({ code: 'invalid-argument', details: { lostBytes: 7 * MIB } })
    expect((await call('disk.info', { path: base })).layers[0].sizeBytes).toBe(8 * MIB)
    expect((await call('disk.resize', { path: base, sizeBytes: MIB, shrink: true })).layers[0].sizeBytes).toBe(MIB)
    await call('disk.resize', { path: base, sizeBytes: 8 * MIB })
    expect((await call('task.list', {})).filter(({ kind }) => kind === 'disk.resize').map(({ subject, state }) => `${subject} ${state}`))
      .toEqual(['base.qcow2 done', 'base.qcow2 failed', 'base.qcow2 failed', 'base.qcow2 done', 'base.qcow2 done'])
    await createQcow2(top, { sizeBytes: 8 * MIB, backing: { path: 'base.qcow2', format: 'qcow2' } })
    const kernel = join(rig.dir, 'kernel')
    writeFileSync(kernel, buildTinyKernel(GUESTS.hello))
    await call('machine.create', { settings: { name: 'one', kernel, memoryMiB: 32, disks: [{ path: top, format: 'qcow2', readOnly: false }] } })
    await expect(call('disk.resize', { path: base, sizeBytes: 16 * MIB, shrink: true })).rejects.toMatchObject({ code: 'has-clones' })
    const raw = join(rig.dir, 'a.raw')
    await call('disk.create', { path: raw, format: 'raw', sizeBytes: MIB })
    await expect(call('disk.check', { path: raw })).rejects.toMatchObject({ code: 'unsupported' })
    await call('disk.resize', { path: raw, sizeBytes: 2 * MIB })
    expect(statSync(raw).size).toBe(2 * MIB)
    await call('disk.resize', { path: raw, sizeBytes: MIB / 2, shrink: true })
    expect(statSync(raw).size).toBe(MIB / 2)
  })

  it('leave nothing behind when a copy fails', async () => {
    const bad = join(rig.dir, 'bad.qcow2')
    writeFileSync(bad, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(600, 0xff)]))
    await expect(call('disk.convert', { path: bad, target: join(rig.dir, 'x.raw'), format: 'raw' })).rejects.toMatchObject({ code: 'bad-disk' })
    expect(existsSync(join(rig.dir, 'x.raw')) || existsSync(join(rig.dir, 'x.raw.part'))).toBe(false)
    await expect(call('disk.convert', { path: bad, target: bad, format: 'raw' })).rejects.toMatchObject({ code: 'name-taken' })
  })
})

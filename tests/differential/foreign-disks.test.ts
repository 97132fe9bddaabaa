/** Disk formats of other programs against qemu-img: what it makes reads equal, what we write it finds sound and equal. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DiskSource } from '../../src/main/host/disks/formats/common/write'
import { foreignFormatOf, openForeignImage, writeForeignImage, type ForeignFormat } from '../../src/main/host/disks/formats/foreign'

const MIB = 1 << 20
const dir = mkdtempSync(join(tmpdir(), 'nestbox-foreign-'))
const at = (name: string): string => join(dir, name)
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
/** qemu-img's name of the format. */
const qemuName = (format: ForeignFormat): string => (format === 'vhd' ? 'vpc' : format)

afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Pieces of data with holes between, at block boundaries and off them, to the last sector of a size that no block divides. */
const SIZE = 70 * MIB + 5 * 512
const DATA: readonly (readonly [number, number])[] = [
  [0, 4096], [3 * MIB - 512, 1024], [5 * MIB, 2 * MIB], [20 * MIB + 7 * 512, 65536], [33 * MIB, 3 * MIB + 512], [SIZE - 512, 512],
]

function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed >>> 0
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    // Every other page can be compressed.
    bytes[i] = i & 4096 ? state >>> 24 : 0x41 + (state >>> 30)
  }
  return bytes
}

async function makeRaw(path: string, size: number, data: typeof DATA): Promise<void> {
  const file = await open(path, 'w')
  await file.truncate(size)
  for (const [offset, length] of data) await file.write(noise(length, offset + 1), 0, length, offset)
  await file.close()
}

beforeAll(() => makeRaw(at('source.raw'), SIZE, DATA))

async function contentOf(path: string, format: ForeignFormat, step = MIB + 1536): Promise<Buffer> {
  const image = await openForeignImage(path, format)
  try {
    const all = Buffer.alloc(image.sizeBytes)
    for (let offset = 0; offset < all.length; offset += step) await image.read(offset, all.subarray(offset, Math.min(all.length, offset + step)))
    return all
  } finally {
    await image.close()
  }
}

async function rawSource(path: string): Promise<DiskSource & { close(): Promise<void> }> {
  const file = await open(path, 'r')
  const { size } = await file.stat()
  return {
    sizeBytes: size,
    read: async (offset, target) => {
      await file.read(target, 0, target.length, offset)
    },
    close: () => file.close(),
  }
}

const MADE_BY_QEMU: readonly [ForeignFormat, string, string][] = [
  ['vdi', 'dynamic', 'static=off'], ['vdi', 'fixed', 'static=on'],
  ['vmdk', 'monolithicSparse', 'subformat=monolithicSparse'], ['vmdk', 'monolithicSparse', 'subformat=monolithicSparse,zeroed_grain=on'],
  ['vmdk', 'streamOptimized', 'subformat=streamOptimized'], ['vmdk', 'monolithicFlat', 'subformat=monolithicFlat'],
  ['vmdk', 'twoGbMaxExtentSparse', 'subformat=twoGbMaxExtentSparse'], ['vmdk', 'twoGbMaxExtentFlat', 'subformat=twoGbMaxExtentFlat'],
  ['vhd', 'dynamic', 'subformat=dynamic,force_size=on'], ['vhd', 'fixed', 'subformat=fixed,force_size=on'],
  ['vhdx', 'dynamic', 'subformat=dynamic'], ['vhdx', 'fixed', 'subformat=fixed'], ['vhdx', 'dynamic', 'subformat=dynamic,block_size=32M'],
]

describe('images that QEMU makes', () => {
  it.each(MADE_BY_QEMU.map((row, i) => [...row, i] as const))('%s %s (%s) read equal', async (format, subformat, options, index) => {
    const path = at(`qemu-${index}.${format}`)
    qemuImg('convert', '-O', qemuName(format), '-o', options, 'source.raw', path)
    const expected = await readFile(at('source.raw'))
    // A fixed VHD is told by its end, all others by their start.
    expect(await foreignFormatOf(path)).toBe(format)
    const image = await openForeignImage(path, format)
    expect(image.subformat).toBe(subformat)
    expect(image.sizeBytes).toBe(SIZE)
    await image.close()
    expect((await contentOf(path, format)).equals(expected)).toBe(true)
  })

  it('of VHD in the default size, which is rounded to a geometry', async () => {
    qemuImg('convert', '-O', 'vpc', 'source.raw', 'geometry.vhd')
    const expected = await readFile(at('source.raw'))
    const all = await contentOf(at('geometry.vhd'), 'vhd')
    expect(all.length).toBe(JSON.parse(qemuImg('info', '--output=json', 'geometry.vhd'))['virtual-size'])
    expect(all.subarray(0, SIZE).equals(expected)).toBe(true)
    expect(all.subarray(SIZE).every((byte) => byte === 0)).toBe(true)
  })

  it('of VMDK in several extents of 2 GiB', async () => {
    const size = 2 * 2 ** 30 + 64 * MIB
    const data = [[2 ** 31 - 1024, 2048], [size - 4096, 4096]] as const
    await makeRaw(at('large.raw'), size, data)
    for (const subformat of ['twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']) {
      const path = at(`${subformat}.vmdk`)
      qemuImg('convert', '-O', 'vmdk', '-o', `subformat=${subformat}`, 'large.raw', path)
      const image = await openForeignImage(path, 'vmdk')
      expect(image.sizeBytes).toBe(size)
      for (const [offset, length] of data) {
        const bytes = new Uint8Array(length + 512)
        await image.read(offset - 512, bytes)
        expect(Buffer.from(bytes.subarray(512)).equals(noise(length, offset + 1))).toBe(true)
        expect(bytes.subarray(0, 512).every((byte) => byte === 0)).toBe(true)
      }
      await image.close()
    }
  })

  it('tell their holes', async () => {
    for (const [format, options] of [['vdi', 'static=off'], ['vmdk', 'subformat=streamOptimized'], ['vhdx', 'subformat=dynamic,block_size=1M']] as const) {
      const path = at(`holes.${format}`)
      qemuImg('convert', '-O', qemuName(format), '-o', options, 'source.raw', path)
      const image = await openForeignImage(path, format)
      const hole = await image.extent(8 * MIB, 12 * MIB)
      expect(hole, format).toEqual({ zero: true, length: 12 * MIB })
      const stored = await image.extent(5 * MIB, 2 * MIB)
      expect(stored, format).toEqual({ zero: false, length: 2 * MIB })
      await image.close()
    }
  })
})

describe('images that we write', () => {
  const sizes: readonly (readonly [string, number, typeof DATA])[] = [
    ['with holes', SIZE, DATA], ['empty', 10 * MIB, []], ['of one sector', 512, [[0, 512]]], ['full', 5 * MIB, [[0, 5 * MIB]]], ['of 100 GiB', 100 * 2 ** 30, [[50 * 2 ** 30, 4096], [100 * 2 ** 30 - 512, 512]]],
  ]
  const formats: readonly ForeignFormat[] = ['vdi', 'vmdk', 'vhd', 'vhdx']
  it.each(formats.flatMap((format) => sizes.slice(0, 4).map((row) => [format, ...row] as const)))('%s %s: qemu-img finds sound and equal', async (format, name, size, data) => {
    const raw = at(`write-${name}.raw`)
    const path = at(`write-${name}.${format}`)
    await makeRaw(raw, size, data)
    const source = await rawSource(raw)
    let last = 0
    await writeForeignImage(source, path, format, { onProgress: (done) => { expect(done).toBeGreaterThan(last); last = done } })
    await source.close()
    expect(last).toBe(size)
    expect(JSON.parse(qemuImg('info', '--output=json', '-f', qemuName(format), path))).toMatchObject({ 'virtual-size': size, format: qemuName(format) })
    if (format !== 'vhd') qemuImg('check', '-f', qemuName(format), path)
    expect(qemuImg('compare', '-f', 'raw', '-F', qemuName(format), raw, path)).toContain('identical')
    expect(await foreignFormatOf(path)).toBe(format)
    expect((await contentOf(path, format)).equals(await readFile(raw))).toBe(true)
  })

  it.each(formats)('%s of 100 GiB, nearly all of it a hole', async (format) => {
    const [, size, data] = sizes[4]
    const path = at(`large.${format}`)
    const source: DiskSource = {
      sizeBytes: size,
      read: (offset, target) => {
        target.fill(0)
        for (const [start, length] of data) if (start >= offset && start < offset + target.length) target.set(noise(length, start + 1), start - offset)
        return Promise.resolve()
      },
      extent: (offset, length) => {
        const inside = data.find(([start, bytes]) => offset < start + bytes && offset + length > start)
        return Promise.resolve({ zero: !inside, length })
      },
    }
    await writeForeignImage(source, path, format)
    expect(JSON.parse(qemuImg('info', '--output=json', path))['virtual-size']).toBe(size)
    if (format !== 'vhd') qemuImg('check', '-f', qemuName(format), path)
    const image = await openForeignImage(path, format)
    for (const [start, length] of data) {
      const bytes = new Uint8Array(length)
      await image.read(start, bytes)
      expect(Buffer.from(bytes).equals(noise(length, start + 1))).toBe(true)
    }
    await image.close()
  })

  it('stop when they are cancelled', async () => {
    const source = await rawSource(at('source.raw'))
    for (const format of formats) {
      const abort = new AbortController()
      const written = writeForeignImage(source, at(`cancelled.${format}`), format, { signal: abort.signal, onProgress: (done) => { if (done > 30 * MIB) abort.abort() } })
      await expect(written).rejects.toMatchObject({ name: 'AbortError' })
    }
    await source.close()
  })
})

describe('images that are refused', () => {
  const refused = (path: string, format: ForeignFormat): Promise<unknown> => openForeignImage(path, format).then((image) => image.close(), (error: unknown) => error)

  it('VMDK with a parent, by name', async () => {
    qemuImg('create', '-f', 'vmdk', 'parent.vmdk', '10M')
    qemuImg('create', '-f', 'vmdk', '-b', 'parent.vmdk', '-F', 'vmdk', 'child.vmdk')
    expect(await refused(at('child.vmdk'), 'vmdk')).toMatchObject({ name: 'DiskFormatError', structure: 'VMDK descriptor', message: expect.stringContaining('only changes') })
  })

  it('VMDK descriptors that name files elsewhere', async () => {
    for (const name of ['/etc/passwd', '../outside.raw', 'sub/flat.raw', '..', '', 'a\\b']) {
      await writeFile(at('evil.vmdk'), `# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 1 FLAT "${name}" 0\n`)
      expect(await refused(at('evil.vmdk'), 'vmdk'), name).toMatchObject({ name: 'DiskFormatError', message: expect.stringContaining('not a plain file name') })
    }
    await writeFile(at('evil.vmdk'), '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "missing.raw" 0\n')
    expect(await refused(at('evil.vmdk'), 'vmdk')).toMatchObject({ message: expect.stringContaining("'missing.raw' is missing") })
  })

  it('VDI that hold changes only', async () => {
    qemuImg('create', '-f', 'vdi', 'changes.vdi', '10M')
    const bytes = await readFile(at('changes.vdi'))
    bytes.writeUInt32LE(4, 0x4c)
    await writeFile(at('changes.vdi'), bytes)
    expect(await refused(at('changes.vdi'), 'vdi')).toMatchObject({ structure: 'VDI header', offset: 0x4c, message: expect.stringContaining('differencing') })
  })

  it('VHDX whose log holds changes', async () => {
    qemuImg('convert', '-O', 'vhdx', 'source.raw', 'log.vhdx')
    const bytes = await readFile(at('log.vhdx'))
    const logAt = Number(bytes.readBigUInt64LE(0x10000 + 72))
    expect(bytes.toString('latin1', logAt, logAt + 4)).toBe('loge')
    const { crc32c } = await import('../../src/main/host/disks/formats/vhdx/crc32c')
    for (const header of [0x10000, 0x20000]) {
      // The log that QEMU carried out already is declared in use again, as after a crash.
      bytes.copy(bytes, header + 48, logAt + 32, logAt + 48)
      bytes.writeUInt32LE(crc32c(bytes.subarray(header, header + 4096), 4), header + 4)
    }
    await writeFile(at('log.vhdx'), bytes)
    expect(await refused(at('log.vhdx'), 'vhdx')).toMatchObject({ structure: 'VHDX log', message: expect.stringContaining('log holds changes') })
    expect(() => qemuImg('compare', '-f', 'raw', '-F', 'vhdx', 'source.raw', 'log.vhdx')).toThrow(/log that needs to be replayed/)
  })

  it('a VHD that lost its end still reads by the copy at its start', async () => {
    qemuImg('convert', '-O', 'vpc', '-o', 'force_size=on', 'source.raw', 'cut.vhd')
    const bytes = await readFile(at('cut.vhd'))
    await writeFile(at('cut.vhd'), bytes.subarray(0, bytes.length - 512))
    expect((await contentOf(at('cut.vhd'), 'vhd')).equals(await readFile(at('source.raw')))).toBe(true)
  })
})

/** qcow2 images that outgrow their refcount table, and what a crash at any instant leaves of an image; against qemu-img. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openDisk, resizeDisk } from '../../src/main/host/disks/open'
import { DiskFile } from '../../src/main/host/disks/qcow2/disk-file'
import { readHeader } from '../../src/main/host/disks/qcow2/header'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { Qcow2Image } from '../../src/main/host/disks/qcow2/image'
import { SIZE_AT } from '../../src/main/host/disks/qcow2/layout'
import { resizeQcow2 } from '../../src/main/host/disks/qcow2/resize'
import { Refcounts } from '../../src/main/host/disks/qcow2/refcounts'
import { checkSound } from '../fixtures/qemu-img'
import { randomNumbers } from '../fixtures/random'
import { RecordedFile } from '../fixtures/recorded-file'

const MIB = 1 << 20
const dir = mkdtempSync(join(tmpdir(), 'nestbox-growth-'))
const at = (name: string): string => join(dir, name)
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const tableClusters = (name: string): number => readFileSync(at(name)).readUInt32BE(56)

describe('an image that outgrows its refcount table', () => {
  it.each([
    ['512-byte clusters', ['cluster_size=512']], ['512-byte clusters, 64-bit counts', ['cluster_size=512,refcount_bits=64']],
    ['512-byte clusters, 1-bit counts', ['cluster_size=512,refcount_bits=1']], ['512-byte clusters, version 2', ['cluster_size=512,compat=0.10']],
  ])('grows on: %s', async (_, options) => {
    qemuImg('create', '-f', 'qcow2', '-o', options[0], 'grown.qcow2', '1M')
    const before = tableClusters('grown.qcow2')
    // QEMU made room for 1 MiB; what there is to count is forty times that.
    await resizeDisk(at('grown.qcow2'), 40 * MIB, 'qcow2')
    const model = Buffer.alloc(40 * MIB)
    for (let i = 0; i < model.length; i += 4) model.writeUInt32LE(i * 2654435761 >>> 0, i)
    const disk = await openDisk(at('grown.qcow2'), false, 'qcow2')
    for (let offset = 0; offset < model.length; offset += 3 * MIB + 512) {
      await disk.write(offset, model.subarray(offset, Math.min(model.length, offset + 3 * MIB + 512)))
      if (offset % 1024 === 0) await disk.flush()
    }
    await disk.close()
    checkSound(at('grown.qcow2'))
    if (!options[0].includes('refcount_bits=1')) expect(tableClusters('grown.qcow2')).toBeGreaterThan(before)
    writeFileSync(at('model.raw'), model)
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', 'model.raw', 'grown.qcow2')
    // What the old tables took is used again, not lost.
    expect(statSync(at('grown.qcow2')).size).toBeLessThan(model.length * 1.2)
  }, 60_000)

  it('and writes to the far end of a huge sparse disk', async () => {
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=64k', 'sparse.qcow2', '1M')
    await resizeDisk(at('sparse.qcow2'), 2 ** 43, 'qcow2')
    const disk = await openDisk(at('sparse.qcow2'), false, 'qcow2')
    const next = randomNumbers(11)
    const places = Array.from({ length: 40 }, () => next(2 ** 27) * 65536)
    for (const [i, place] of places.entries()) await disk.write(place, Buffer.alloc(4096, i + 1))
    await disk.close()
    checkSound(at('sparse.qcow2'))
    for (const [i, place] of places.entries()) {
      const said = execFileSync('qemu-io', ['-f', 'qcow2', '-c', `read -P ${i + 1} ${place} 4096`, at('sparse.qcow2')], { encoding: 'utf8' })
      expect(said).not.toMatch(/verification failed/)
    }
  })

  it('says so where the format has no larger table', async () => {
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64', 'limit.qcow2', '64M')
    // As if a file of 32 GiB had grown as far as a table of 8 MiB counts.
    const file = new DiskFile({ ...new RecordedFile(readFileSync(at('limit.qcow2'))).files, size: 2 ** 35 }, 'limit.qcow2')
    const counts = new Refcounts(file, await readHeader(file))
    await counts.load()
    await expect(counts.allocateRun(1)).rejects.toThrow(/limit\.qcow2: the image cannot grow past \d+ bytes, the most that clusters of 512 bytes allow/)
  })
})

describe('a crash between any two writes to the file', () => {
  const SLOT = 2048

  interface Run { readonly file: RecordedFile; readonly flushed: ReadonlyMap<number, number>[]; readonly written: ReadonlyMap<number, number>[] }

  /** Stamped writes, discards and flushes; a mark after each flush, and what was on the disk then. */
  async function run(start: Buffer, slots: number, steps: number): Promise<Run> {
    const file = new RecordedFile(start)
    const image = await Qcow2Image.from(new DiskFile(file.files, 'recorded'), false, () => Promise.reject(new Error('none')))
    const next = randomNumbers(5)
    const now = new Map<number, number>()
    const flushed: Map<number, number>[] = [new Map()]
    /** Slots changed since the mark, with the last stamp: what of them is there is open. */
    const written: Map<number, number>[] = [new Map()]
    for (let stamp = 1; stamp <= steps; stamp++) {
      const slot = next(slots)
      if (next(10) === 0) {
        await image.writeZeroes(slot * SLOT, SLOT)
        now.set(slot, 0)
      } else {
        await image.write(slot * SLOT, Buffer.alloc(SLOT, Buffer.from(Uint32Array.of(stamp).buffer)))
        now.set(slot, stamp)
      }
      written.at(-1)?.set(slot, stamp)
      if (stamp % 25 !== 0) continue
      await image.flush()
      flushed.push(new Map(now))
      written.push(new Map())
      file.mark(flushed.length - 1)
    }
    return { file, flushed, written }
  }

  async function expectKept(name: string, flushed: ReadonlyMap<number, number>, open: ReadonlyMap<number, number>): Promise<void> {
    const disk = await openDisk(at(name), true, 'qcow2')
    const bytes = Buffer.alloc(SLOT)
    for (const [slot, stamp] of flushed) {
      if (open.has(slot)) continue
      await disk.read(slot * SLOT, bytes)
      expect(bytes.equals(Buffer.alloc(SLOT, Buffer.from(Uint32Array.of(stamp).buffer))), `slot ${slot} should be ${stamp}, is ${bytes.readUInt32LE(0)}`).toBe(true)
    }
    await disk.close()
  }

  it.each([['a kill', () => true], ['a power cut', undefined]] as const)('%s: the image is sound and holds what was flushed', async (_, survives) => {
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=512,refcount_bits=64', 'crash.qcow2', '4M')
    const { file, flushed, written } = await run(readFileSync(at('crash.qcow2')), 2048, 1800)
    // The table grew on the way, and that is among what is cut off.
    const moves = file.log.flatMap((entry, i) => (entry.kind === 'write' && entry.offset === 48 ? [i] : []))
    expect(moves.length).toBeGreaterThan(0)
    const next = randomNumbers(9)
    const cuts = [...Array.from({ length: 40 }, () => next(file.log.length)), ...moves.flatMap((i) => [i - 3, i - 2, i - 1, i, i + 1, i + 2, i + 3])]
    for (const cut of cuts) {
      const { bytes, mark } = file.after(cut, survives ?? (() => next(2) === 0))
      writeFileSync(at('crashed.qcow2'), bytes)
      checkSound(at('crashed.qcow2'), true)
      await expectKept('crashed.qcow2', flushed[mark], written[mark])
    }
  }, 120_000)

  /** What was cut off does not come back when the disk grows again. */
  async function expectGoneFor(name: string, small: Buffer, sizeBytes: number): Promise<void> {
    await resizeDisk(at(name), sizeBytes, 'qcow2')
    checkSound(at(name), true)
    const grown = await openDisk(at(name), true, 'qcow2')
    const bytes = Buffer.alloc(sizeBytes)
    await grown.read(0, bytes)
    await grown.close()
    expect(bytes.subarray(0, small.length).equals(small)).toBe(true)
    expect(bytes.subarray(small.length).every((byte) => byte === 0)).toBe(true)
  }

  it.each<[string, number, (() => boolean) | undefined]>([
    ['larger, a kill', 40 * MIB, () => true], ['larger, a power cut', 40 * MIB, undefined], ['smaller, a kill', MIB + 1024, () => true], ['smaller, a power cut', MIB + 1024, undefined],
  ])('of a change of size: %s: the disk is the old one or the new one, whole', async (_, sizeBytes, survives) => {
    const old = 5 * MIB + 512
    rmSync(at('size.qcow2'), { force: true })
    await createQcow2(at('size.qcow2'), { sizeBytes: old, clusterBits: 9 })
    const disk = await openDisk(at('size.qcow2'), false, 'qcow2')
    const model = Buffer.alloc(old)
    for (let offset = 0; offset < old; offset += 37 * 1024) model.fill(1 + offset % 251, offset, Math.min(old, offset + 3000))
    await disk.write(0, model)
    await disk.close()
    const file = new RecordedFile(readFileSync(at('size.qcow2')))
    const openFile = (): Promise<DiskFile> => Promise.resolve(new DiskFile(file.files, 'recorded'))
    await resizeQcow2('recorded', sizeBytes, () => Promise.reject(new Error('none')), { openFile })
    const next = randomNumbers(4)
    const sizes = new Set<number>()
    // Around where the size is decided each of them.
    const decided = file.log.findIndex(({ kind, ...entry }) => kind === 'write' && 'offset' in entry && entry.offset === SIZE_AT)
    const cuts = [...Array.from({ length: 13 }, (_none, i) => Math.floor(file.log.length * i / 12)), ...[-2, -1, 0, 1, 2, 3].map((off) => Math.min(file.log.length, decided + off))]
    for (const cut of cuts) {
      writeFileSync(at('crashed.qcow2'), file.after(cut, survives ?? (() => next(2) === 0)).bytes)
      checkSound(at('crashed.qcow2'), true)
      const crashed = await openDisk(at('crashed.qcow2'), true, 'qcow2')
      const bytes = Buffer.alloc(crashed.sizeBytes)
      await crashed.read(0, bytes)
      await crashed.close()
      sizes.add(bytes.length)
      // Nothing of the old disk is gone before it is the new one.
      const both = Math.min(old, bytes.length)
      expect(bytes.subarray(0, both).equals(model.subarray(0, both)), `cut off at ${cut} of ${file.log.length}`).toBe(true)
      if (bytes.length > old) expect(bytes.subarray(old).every((byte) => byte === 0)).toBe(true)
      if (bytes.length < old) await expectGoneFor('crashed.qcow2', bytes, old)
    }
    expect([...sizes].sort((a, b) => a - b)).toEqual([old, sizeBytes].sort((a, b) => a - b))
  }, 120_000)
})

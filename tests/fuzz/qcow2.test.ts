/** Random damage to real qcow2 files: an error that says what is wrong and where, or a disk that reads. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { DiskFormatError } from '../../src/main/host/disks/formats/common/format-error'
import { compactDisk } from '../../src/main/host/disks/compact'
import { openDisk, resizeDisk } from '../../src/main/host/disks/open'
import { checkQcow2 } from '../../src/main/host/disks/qcow2/check'
import { Extension } from '../../src/main/host/disks/qcow2/layout'
import { repairQcow2 } from '../../src/main/host/disks/qcow2/repair'
import { VmmError } from '../../src/main/vmm/errors'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 200)
const dir = mkdtempSync(join(tmpdir(), 'nestbox-fuzz-qcow2-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

type Next = (below: number) => number

function random(seed: number): Next {
  let state = (seed * 2654435761) >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

interface Sample { readonly options: string; readonly compressed?: boolean; readonly backing?: boolean; readonly snapshots?: boolean; readonly bitmap?: boolean }
const SAMPLES: readonly Sample[] = [
  { options: 'compat=1.1' }, { options: 'compat=0.10,cluster_size=4k' }, { options: 'cluster_size=512' }, { options: 'cluster_size=4k,refcount_bits=1' },
  { options: 'compat=1.1', compressed: true }, { options: 'compression_type=zstd', compressed: true }, { options: 'compat=1.1', backing: true },
  { options: 'cluster_size=4k', snapshots: true }, { options: 'cluster_size=512', bitmap: true },
]

/** Offset of what the header's extension for bitmaps leads to; 0 without one. */
function bitmapDirectory(bytes: Buffer): number {
  for (let at = bytes.readUInt32BE(100); bytes.readUInt32BE(at) !== 0; at += 8 + Math.ceil(bytes.readUInt32BE(at + 4) / 8) * 8) {
    if (bytes.readUInt32BE(at) === Extension.BITMAPS) return Number(bytes.readBigUInt64BE(at + 24))
  }
  return 0
}

/** Where the tables are: damage elsewhere is only other data. */
function structuresOf(bytes: Buffer): [number, number][] {
  const cluster = 1 << bytes.readUInt32BE(20)
  const l1 = Number(bytes.readBigUInt64BE(40))
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n)
  const found: [number, number][] = [[0, 160], [0, 112], [Number(bytes.readBigUInt64BE(48)), 16], [l1, bytes.readUInt32BE(36) * 8], [l2, Math.min(cluster, 400)]]
  const first = Number(bytes.readBigUInt64BE(l2) & 0x00ffffffffffffffn) % bytes.length
  found.push([first, 64])
  const snapshots = Number(bytes.readBigUInt64BE(64))
  if (bytes.readUInt32BE(60) > 0) found.push([snapshots, 120], [Number(bytes.readBigUInt64BE(snapshots)), 32])
  const bitmaps = bytes.readUInt32BE(4) === 3 ? bitmapDirectory(bytes) : 0
  if (bitmaps > 0) found.push([bitmaps, 32], [Number(bytes.readBigUInt64BE(bitmaps)), 16], [100, 160])
  return found.filter(([start, length]) => length > 0 && start + length <= bytes.length)
}

function damage(original: Buffer, structures: readonly (readonly [number, number])[], next: Next): Buffer {
  const bytes = Buffer.from(original.subarray(0, next(6) === 0 ? next(original.length) : original.length))
  const extremes = [0, 1, 0x7f, 0x80, 0xff]
  for (let i = next(4); i >= 0; i--) {
    const [start, length] = structures[next(structures.length)]
    const at = start + next(length)
    for (let n = next(4) === 0 ? 4 : 1; n > 0; n--) if (at + n <= bytes.length) bytes[at + n - 1] = next(2) === 0 ? extremes[next(5)] : next(256)
  }
  return bytes
}

async function readSome(path: string, next: Next): Promise<void> {
  const image = await openDisk(path, true, 'qcow2')
  try {
    const target = new Uint8Array(128 << 10)
    for (let i = 0; i < 6; i++) {
      const length = Math.min(target.length, image.sizeBytes)
      const last = image.sizeBytes - length
      await image.read(i === 0 ? 0 : i === 1 ? last : Math.min(last, next(1024) * 65536), target.subarray(0, length))
    }
  } finally {
    await image.close()
  }
}

function make({ options, compressed, backing, snapshots, bitmap }: Sample): Buffer {
  const [raw, path] = [join(dir, 'source.raw'), join(dir, 'original.qcow2')]
  writeFileSync(raw, Buffer.alloc(1 << 20, 'guest data '))
  if (backing) {
    execFileSync('qemu-img', ['create', '-f', 'qcow2', '-o', options, '-b', raw, '-F', 'raw', path])
    execFileSync('qemu-io', ['-c', 'write -P 5 0 1k', path])
  } else execFileSync('qemu-img', ['convert', ...(compressed ? ['-c'] : []), '-O', 'qcow2', '-o', options, raw, path])
  if (snapshots) {
    execFileSync('qemu-img', ['snapshot', '-c', 'first', path])
    execFileSync('qemu-io', ['-c', 'write -P 6 0 9k', path], { stdio: 'ignore' })
    execFileSync('qemu-img', ['snapshot', '-c', 'second', path])
  }
  if (bitmap) execFileSync('qemu-img', ['bitmap', '--add', path, 'changes'])
  return readFileSync(path)
}

/** What changes an image, each of a copy of its own. An error says what is wrong; what was done has left an image that we understand. */
const CHANGES: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  repair: (path) => repairQcow2(path),
  'make larger': (path) => resizeDisk(path, 600 << 20, 'qcow2'),
  'make smaller': (path) => resizeDisk(path, 200 << 10, 'qcow2'),
  compact: (path) => compactDisk(path, 'qcow2'),
}

async function change(damaged: string, name: string): Promise<boolean> {
  const path = join(dir, 'changed.qcow2')
  copyFileSync(damaged, path)
  try {
    await CHANGES[name](path)
  } catch (error) {
    expectClear(error)
    return false
  }
  const [before, corruptions] = await Promise.all([damaged, path].map((each) => checkQcow2(each).then((report) => report.corruptions, () => Infinity)))
  // What was sound stays so; a repair may leave errors, which are told, but makes none.
  if (name === 'repair' || before === 0) expect(corruptions, name).toBeLessThanOrEqual(before)
  return true
}

function expectClear(error: unknown): void {
  if (!(error instanceof DiskFormatError || error instanceof VmmError)) throw error
  expect(error.message).toContain(dir)
  expect(error.message).not.toMatch(/NaN|undefined|byte -/)
}

describe.each(SAMPLES)('qcow2 $options compressed=$compressed backing=$backing', (sample) => {
  it(`damaged ${ROUNDS} times (seed ${SEED}) is refused clearly or reads`, async () => {
    const original = make(sample)
    const structures = structuresOf(original)
    const next = random(SEED + sample.options.length)
    const path = join(dir, 'damaged.qcow2')
    const outcomes = { read: 0, refused: 0 }
    const changed = new Set<string>()
    const before = process.memoryUsage().rss
    for (let round = 0; round < ROUNDS; round++) {
      writeFileSync(path, damage(original, structures, next))
      // Either a report or an error that says what is wrong.
      await checkQcow2(path).then(({ problems, corruptions }) => expect(problems.length).toBe(Math.min(50, corruptions)), expectClear)
      const name = Object.keys(CHANGES)[round % 4]
      if (await change(path, name)) changed.add(name)
      try {
        await readSome(path, next)
        outcomes.read++
      } catch (error) {
        expectClear(error)
        outcomes.refused++
      }
    }
    expect(outcomes.read).toBeGreaterThan(ROUNDS / 50)
    // Some of the damage is not in its way.
    expect(changed.size).toBeGreaterThan(1)
    expect(outcomes.refused).toBeGreaterThan(ROUNDS / 20)
    expect(process.memoryUsage().rss - before).toBeLessThan(512 << 20)
  })
})

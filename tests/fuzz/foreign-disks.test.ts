/** Random damage to real VDI, VMDK, VHD and VHDX files: a DiskFormatError that says what is wrong, or a disk that reads. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { DiskFormatError } from '../../src/main/host/disks/formats/common/format-error'
import { foreignFormatOf, FOREIGN_FORMATS, openForeignImage, type ForeignFormat } from '../../src/main/host/disks/formats/foreign'
import { crc32c } from '../../src/main/host/disks/formats/vhdx/crc32c'
import { checksum } from '../../src/main/host/disks/formats/vhd/layout'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 400)
const dir = mkdtempSync(join(tmpdir(), 'nestbox-fuzz-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function random(seed: number): (below: number) => number {
  let state = (seed * 2654435761) >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
type Next = ReturnType<typeof random>

interface Sample {
  readonly format: ForeignFormat
  readonly options: string
  /** Where the format's structures are: damage elsewhere is only other data. */
  readonly structures: readonly (readonly [number, number])[]
  /** Makes checksums right again, so that the damage is reached. */
  readonly repair?: (bytes: Buffer) => void
}

function repairVhd(bytes: Buffer): void {
  for (const [at, length, sumAt] of [[0, 512, 64], [512, 1024, 36], [bytes.length - 512, 512, 64]] as const) {
    if (at + length <= bytes.length && at >= 0) bytes.writeUInt32BE(checksum(bytes.subarray(at, at + length), sumAt), at + sumAt)
  }
}

function repairVhdx(bytes: Buffer): void {
  for (const [at, length] of [[0x10000, 4096], [0x20000, 4096], [0x30000, 0x10000], [0x40000, 0x10000]] as const) {
    if (at + length <= bytes.length) bytes.writeUInt32LE(crc32c(bytes.subarray(at, at + length), 4), at + 4)
  }
}

const SAMPLES: readonly Sample[] = [
  { format: 'vdi', options: 'static=off', structures: [[0x40, 0x150], [0x200, 0x40]] },
  { format: 'vmdk', options: 'subformat=monolithicSparse', structures: [[0, 80], [512, 600], [0x2a00, 0x400]] },
  { format: 'vmdk', options: 'subformat=streamOptimized', structures: [[0, 80], [512, 600], [0x2a00, 0x400], [0x10000, 0x100]] },
  { format: 'vmdk', options: 'subformat=monolithicFlat', structures: [[0, 400]] },
  { format: 'vhd', options: 'subformat=dynamic', structures: [[0, 64], [512, 64], [1536, 64]], repair: repairVhd },
  // The log's length and place, the region table, metadata and the first entries of the block table.
  { format: 'vhdx', options: 'subformat=dynamic,block_size=1M', structures: [[0, 16], [0x10000, 96], [0x20000, 96], [0x30000, 96], [0x200000, 0x100], [0x210000, 0x40], [0x300000, 0x40]], repair: repairVhdx },
]

function damage(original: Buffer, { structures, repair }: Sample, next: Next): Buffer {
  const bytes = Buffer.from(original.subarray(0, next(6) === 0 ? next(original.length) : original.length))
  const extremes = [0, 1, 0x7f, 0x80, 0xff]
  for (let i = next(4); i >= 0; i--) {
    const [start, length] = structures[next(structures.length)]
    const at = start + next(length)
    for (let n = next(4) === 0 ? 4 : 1; n > 0; n--) if (at + n <= bytes.length) bytes[at + n - 1] = next(2) === 0 ? extremes[next(5)] : next(256)
  }
  if (next(4) !== 0) repair?.(bytes)
  return bytes
}

/** Reads at the start, the end and some places between. */
async function readSome(path: string, format: ForeignFormat, next: Next): Promise<void> {
  const image = await openForeignImage(path, format)
  try {
    const target = new Uint8Array(128 << 10)
    for (let i = 0; i < 6; i++) {
      const length = Math.min(target.length, image.sizeBytes)
      const last = image.sizeBytes - length
      const offset = i === 0 ? 0 : i === 1 ? last : Math.min(last, next(1024) * 65536)
      await image.read(offset, target.subarray(0, length))
    }
  } finally {
    await image.close()
  }
}

describe.each(SAMPLES)('$format ($options)', (sample) => {
  it(`damaged ${ROUNDS} times (seed ${SEED}) is refused clearly or reads`, async () => {
    const raw = join(dir, 'source.raw')
    writeFileSync(raw, Buffer.alloc(3 << 20, 'guest data '))
    const original = join(dir, `original.${sample.format}`)
    execFileSync('qemu-img', ['convert', '-O', sample.format === 'vhd' ? 'vpc' : sample.format, '-o', sample.options, raw, original])
    // The tables of a long file lie at its start; what is past them is data.
    const bytes = readFileSync(original)
    const next = random(SEED + sample.options.length)
    const path = join(dir, `damaged.${sample.format}`)
    const outcomes = { read: 0, refused: 0 }
    const before = process.memoryUsage().rss
    for (let round = 0; round < ROUNDS; round++) {
      writeFileSync(path, damage(bytes, sample, next))
      await foreignFormatOf(path)
      try {
        await readSome(path, sample.format, next)
        outcomes.read++
      } catch (error) {
        if (!(error instanceof DiskFormatError)) throw error
        expect(error.message).toContain(dir)
        expect(error.message).not.toMatch(/NaN|undefined|byte -/)
        outcomes.refused++
      }
    }
    expect(outcomes.read).toBeGreaterThan(ROUNDS / 50)
    expect(outcomes.refused).toBeGreaterThan(ROUNDS / 20)
    expect(process.memoryUsage().rss - before).toBeLessThan(512 << 20)
  })
})

describe('files of noise', () => {
  it('are refused by every format', async () => {
    const next = random(SEED)
    const path = join(dir, 'noise')
    for (let round = 0; round < 200; round++) {
      writeFileSync(path, Buffer.from(Array.from({ length: next(4000) }, () => next(256))))
      expect(await foreignFormatOf(path)).toBeUndefined()
      for (const format of FOREIGN_FORMATS) await expect(openForeignImage(path, format)).rejects.toBeInstanceOf(DiskFormatError)
    }
  })
})

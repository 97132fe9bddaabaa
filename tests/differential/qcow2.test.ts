/** qcow2 against QEMU: what it writes reads equal, what we write it finds sound and equal, at random and after kills. */
import { execFileSync, fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDisk, type OpenDisk } from '../../src/main/host/disks/open'
import { createQcow2, writeQcow2 } from '../../src/main/host/disks/qcow2/create'
import { openRawSource } from '../../src/main/host/disks/raw-source'
import { checkSound } from '../fixtures/qemu-img'
import { randomNumbers } from '../fixtures/random'

const MIB = 1 << 20
const SIZE = 9 * MIB + 3 * 512
const dir = mkdtempSync(join(tmpdir(), 'nestbox-qcow2-'))
const at = (name: string): string => join(dir, name)
const run = (program: string, args: readonly string[]): string => execFileSync(program, args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const qemuImg = (...args: string[]): string => run('qemu-img', args)

function noise(length: number, seed: number): Uint8Array {
  const next = randomNumbers(seed + 1)
  // Half of it can be compressed.
  return Uint8Array.from({ length }, (_, i) => (i & 4096 ? next(256) : 0x41 + next(3)))
}

async function contentOf(disk: OpenDisk, step = MIB + 1536): Promise<Buffer> {
  const all = Buffer.alloc(disk.sizeBytes)
  for (let offset = 0; offset < all.length; offset += step) await disk.read(offset, all.subarray(offset, Math.min(all.length, offset + step)))
  return all
}

async function read(name: string): Promise<Buffer> {
  const disk = await openDisk(at(name), true)
  try {
    return await contentOf(disk)
  } finally {
    await disk.close()
  }
}

const same = (a: Buffer, b: Buffer): boolean => a.equals(b)
let source: Buffer

beforeAll(() => {
  source = Buffer.alloc(SIZE)
  for (const [offset, length] of [[0, 4096], [MIB - 512, 1024], [2 * MIB, MIB], [5 * MIB + 7 * 512, 70_000], [SIZE - 512, 512]]) source.set(noise(length, offset), offset)
  writeFileSync(at('source.raw'), source)
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe('images QEMU made read equal', () => {
  it.each([
    ['plain', []], ['version 2', ['-o', 'compat=0.10']], ['512-byte clusters', ['-o', 'cluster_size=512']], ['2 MiB clusters', ['-o', 'cluster_size=2M']],
    ['zlib', ['-c']], ['zlib, 4 KiB clusters', ['-c', '-o', 'cluster_size=4k']], ['zstd', ['-c', '-o', 'compression_type=zstd']],
    ['preallocated', ['-o', 'preallocation=full']], ['lazy refcounts', ['-o', 'lazy_refcounts=on']], ['1-bit refcounts', ['-o', 'refcount_bits=1']],
  ])('%s', async (_, options) => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options, 'source.raw', 'made.qcow2')
    expect(same((await read('made.qcow2')).subarray(0, SIZE), source)).toBe(true)
  })

  it('over chains of images, raw and qcow2, some shorter', async () => {
    qemuImg('create', '-f', 'qcow2', '-b', 'source.raw', '-F', 'raw', 'one.qcow2', '12M')
    run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 1M 100k', '-c', 'write -z 2M 64k', '-c', 'write -P 9 11M 1k', 'one.qcow2'])
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=4k', '-b', 'one.qcow2', '-F', 'qcow2', 'two.qcow2')
    run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 3 1050k 3k', '-c', 'write -z 5M 8k', 'two.qcow2'])
    qemuImg('convert', '-O', 'raw', 'two.qcow2', 'flat.raw')
    expect(same(await read('two.qcow2'), readFileSync(at('flat.raw')))).toBe(true)
  })
})

describe('images we write', () => {
  it.each([9, 12, 16, 21])('with clusters of 2^%i bytes are sound and equal', async (clusterBits) => {
    const raw = await openRawSource(at('source.raw'))
    rmSync(at('ours.qcow2'), { force: true })
    await writeQcow2(raw, at('ours.qcow2'), { clusterBits })
    await raw.close()
    checkSound(at('ours.qcow2'))
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', 'source.raw', 'ours.qcow2')
  })

  /** Does the same to an image and to bytes in memory. */
  async function disturb(disk: OpenDisk, model: Buffer, seed: number, steps: number): Promise<void> {
    const next = randomNumbers(seed)
    for (let i = 0; i < steps; i++) {
      const length = Math.min((1 + next(next(4) === 0 ? 400 : 20)) * 512, model.length)
      const offset = next((model.length - length) / 512 + 1) * 512
      switch (next(8)) {
        case 0:
          await disk.writeZeroes(offset, length)
          model.fill(0, offset, offset + length)
          break
        case 1: {
          // What a discarded range reads as is the image's choice; from now on it is what it says.
          await disk.discard(offset, length)
          await disk.read(offset, model.subarray(offset, offset + length))
          break
        }
        case 2: await disk.flush(); break
        case 3: {
          const got = Buffer.alloc(length)
          await disk.read(offset, got)
          expect(same(got, model.subarray(offset, offset + length)), `read of ${length} at ${offset}`).toBe(true)
          break
        }
        default: {
          const bytes = noise(length, next(1000))
          await disk.write(offset, bytes)
          model.set(bytes, offset)
        }
      }
    }
  }

  const STARTS: readonly (readonly [string, (name: string) => Promise<unknown> | void])[] = [
    ['ours', (name) => createQcow2(at(name), { sizeBytes: SIZE })],
    ['ours, 4 KiB clusters, over QEMU’s', (name) => createQcow2(at(name), { sizeBytes: SIZE, clusterBits: 12, backing: { path: 'base.qcow2', format: 'qcow2' } })],
    ['ours, 512-byte clusters', (name) => createQcow2(at(name), { sizeBytes: SIZE, clusterBits: 9 })],
    ['QEMU’s', (name) => void qemuImg('create', '-f', 'qcow2', name, `${SIZE}`)],
    ['QEMU’s, version 2, over another', (name) => void qemuImg('create', '-f', 'qcow2', '-o', 'compat=0.10', '-b', 'base.qcow2', '-F', 'qcow2', name)],
    ['QEMU’s, 1-bit refcounts', (name) => void qemuImg('create', '-f', 'qcow2', '-o', 'refcount_bits=1,cluster_size=4k', name, `${SIZE}`)],
    ['QEMU’s, 64-bit refcounts', (name) => void qemuImg('create', '-f', 'qcow2', '-o', 'refcount_bits=64,cluster_size=4k', name, `${SIZE}`)],
    ['QEMU’s, compressed', (name) => void qemuImg('convert', '-c', '-O', 'qcow2', 'base.qcow2', name)],
  ]

  it.each(STARTS)('hold what a random run wrote: %s', async (_, create) => {
    const name = 'random.qcow2'
    rmSync(at('base.qcow2'), { force: true })
    rmSync(at(name), { force: true })
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'source.raw', 'base.qcow2')
    await create(name)
    for (let round = 0; round < 3; round++) {
      const disk = await openDisk(at(name), false)
      const model = await contentOf(disk)
      await disturb(disk, model, round + 1, 150)
      await disk.close()
      checkSound(at(name))
      writeFileSync(at('model.raw'), model)
      qemuImg('compare', '-f', 'raw', '-F', 'qcow2', 'model.raw', name)
      expect(same(await read(name), model)).toBe(true)
    }
  })

  it('keep what QEMU’s internal snapshots hold', async () => {
    rmSync(at('snap.qcow2'), { force: true })
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'source.raw', 'snap.qcow2')
    qemuImg('snapshot', '-c', 'before', 'snap.qcow2')
    const disk = await openDisk(at('snap.qcow2'), false)
    const model = await contentOf(disk)
    await disturb(disk, model, 5, 200)
    await disk.close()
    checkSound(at('snap.qcow2'))
    expect(same(await read('snap.qcow2'), model)).toBe(true)
    qemuImg('snapshot', '-a', 'before', 'snap.qcow2')
    checkSound(at('snap.qcow2'))
    expect(same((await read('snap.qcow2')).subarray(0, SIZE), source)).toBe(true)
  })
})

describe('a writer that is killed', () => {
  const KILLS = Number(process.env.NESTBOX_QCOW2_KILLS ?? 25)

  it(`leaves sound images with everything it had flushed (${KILLS} kills)`, async () => {
    const child = at('writer.cjs')
    buildSync({ entryPoints: [join(import.meta.dirname, '..', 'fixtures', 'qcow2-writer.ts')], outfile: child, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
    rmSync(at('killed.qcow2'), { force: true })
    await createQcow2(at('killed.qcow2'), { sizeBytes: 32 * MIB, clusterBits: 12 })
    const next = randomNumbers(7)
    /** Stamp each 4 KiB block had at the last flush, and the highest ever written to it. */
    const flushed = new Map<number, number>()
    const written = new Map<number, number>()
    let stamp = 1
    for (let i = 0; i < KILLS; i++) {
      const process = fork(child, [at('killed.qcow2'), `${stamp}`], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      const pending = new Map<number, number>()
      process.on('message', (message: { block?: number; stamp?: number; flushed?: boolean }) => {
        if (message.block !== undefined && message.stamp !== undefined) {
          pending.set(message.block, message.stamp)
          written.set(message.block, message.stamp)
          stamp = Math.max(stamp, message.stamp + 1)
        } else if (message.flushed) for (const [block, s] of pending) flushed.set(block, s)
      })
      await new Promise<void>((resolve) => process.once('message', () => resolve()))
      await new Promise((resolve) => setTimeout(resolve, next(120)))
      const gone = new Promise((resolve) => process.once('close', resolve))
      process.kill('SIGKILL')
      await gone
      checkSound(at('killed.qcow2'), true)
      const disk = await openDisk(at('killed.qcow2'), true)
      const view = Buffer.alloc(4096)
      for (const [block, least] of flushed) {
        await disk.read(block * 4096, view)
        const found = view.readUInt32LE(0)
        // A later write that was not flushed may be there or not.
        expect(found >= least && found <= (written.get(block) ?? least), `block ${block}: ${found}, flushed ${least}`).toBe(true)
        expect(view.every((byte, at4) => at4 < 4 || byte === (found & 0xff))).toBe(true)
      }
      await disk.close()
    }
    expect(flushed.size).toBeGreaterThan(50)
  }, 240_000)
})

describe('images that cannot be used', () => {
  it('are refused with what is wrong and where', async () => {
    qemuImg('create', '-f', 'qcow2', '-b', 'source.raw', '-F', 'raw', 'lost.qcow2')
    rmSync(at('gone.raw'), { force: true })
    qemuImg('rebase', '-u', '-b', 'gone.raw', '-F', 'raw', 'lost.qcow2')
    await expect(openDisk(at('lost.qcow2'), true)).rejects.toThrow(/lost\.qcow2 is laid over .*gone\.raw, which cannot be opened/)
    qemuImg('rebase', '-u', '-b', 'lost.qcow2', '-F', 'qcow2', 'lost.qcow2')
    await expect(openDisk(at('lost.qcow2'), true)).rejects.toThrow(/laid over itself/)
    qemuImg('create', '-f', 'qcow2', '-o', 'extended_l2=on,cluster_size=64k', 'sub.qcow2', '1M')
    await expect(openDisk(at('sub.qcow2'), true)).rejects.toThrow(/subclusters/)
    qemuImg('create', '-f', 'qcow2', '-o', 'refcount_bits=1', 'one-bit.qcow2', '1M')
    const image = readFileSync(at('one-bit.qcow2'))
    image.writeUInt8(2, 79)
    writeFileSync(at('corrupt.qcow2'), image)
    await expect(openDisk(at('corrupt.qcow2'), false)).rejects.toThrow(/marked as corrupt/)
  })

  it('are refused for absurd figures, by the field', async () => {
    qemuImg('create', '-f', 'qcow2', 'plain.qcow2', '10M')
    const plain = readFileSync(at('plain.qcow2'))
    for (const [offset, value] of [[4, 7], [20, 8], [20, 40], [24, 1n << 62n], [24, 1n << 50n], [36, 0], [36, 0x7fffffff], [40, 1n << 40n], [40, 3n], [40, 0n],
      [48, 0x10001n], [56, 0xffffffff], [72, 1n << 40n], [96, 9], [100, 20], [100, 0x100000], [104, 0x02000000], [104, 0x01000000]] as const) {
      const bytes = Buffer.from(plain)
      if (typeof value === 'bigint') bytes.writeBigUInt64BE(value, offset)
      else bytes.writeUInt32BE(value, offset)
      writeFileSync(at('absurd.qcow2'), bytes)
      await expect(openDisk(at('absurd.qcow2'), true, 'qcow2').then((disk) => disk.close()), `${value} at ${offset}`).rejects.toThrow(/absurd\.qcow2: .* at byte \d+: /)
    }
  })

  it('are refused where a base whose format is only guessed leads on to another file', async () => {
    qemuImg('create', '-f', 'qcow2', '-b', 'source.raw', '-F', 'raw', 'mid.qcow2')
    qemuImg('create', '-f', 'qcow2', '-b', 'mid.qcow2', '-F', 'qcow2', 'guessed.qcow2')
    const bytes = readFileSync(at('guessed.qcow2'))
    // Another type, which nobody knows: the format is no longer said.
    bytes.writeUInt32BE(0x12345678, bytes.indexOf(Buffer.from('e2792aca', 'hex')))
    writeFileSync(at('guessed.qcow2'), bytes)
    await expect(openDisk(at('guessed.qcow2'), true)).rejects.toThrow(/guessed\.qcow2.*mid\.qcow2.*format is not recorded/)
    qemuImg('convert', '-O', 'qcow2', 'source.raw', 'mid.qcow2')
    expect(same(await read('guessed.qcow2'), source)).toBe(true)
  })

  it('cut off or damaged anywhere give a clear error or read', async () => {
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', 'source.raw', 'sound.qcow2')
    const sound = readFileSync(at('sound.qcow2'))
    const next = randomNumbers(3)
    for (let i = 0; i < 150; i++) {
      const damaged = i % 3 === 0 ? sound.subarray(0, next(sound.length)) : Buffer.from(sound)
      // Mostly where the tables are.
      if (i % 3 !== 0) for (let n = 0; n < 3; n++) damaged[next(n === 0 ? 112 : Math.min(sound.length, 5 * 65536))] = next(256)
      writeFileSync(at('damaged.qcow2'), damaged)
      try {
        const disk = await openDisk(at('damaged.qcow2'), true, 'qcow2')
        try {
          const part = Buffer.alloc(65536)
          for (let offset = 0; offset + part.length <= Math.min(disk.sizeBytes, 16 * MIB); offset += part.length) await disk.read(offset, part)
        } finally {
          await disk.close()
        }
      } catch (error) {
        expect(String(error), `round ${i}`).toContain(dir)
      }
    }
  })
})

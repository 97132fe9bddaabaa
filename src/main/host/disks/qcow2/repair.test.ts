import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openDisk } from '../open'
import { countsPerBlock, getCount, maxCount, setCount } from './counts'

const dir = mkdtempSync(join(tmpdir(), 'nestbox-repair-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (name: string): string => join(dir, name)
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const isDirty = (name: string): boolean => (readFileSync(at(name))[79] & 1) === 1
/** What `qemu-img check` says: 0 is sound, 2 has errors, 3 has leaks. */
const checkStatus = (name: string): number | null => spawnSync('qemu-img', ['check', '-f', 'qcow2', name], { cwd: dir }).status

/** Runs QEMU's commands on an image and kills it before it can tidy up. */
function killedWhile(name: string, ...commands: string[]): void {
  const { signal } = spawnSync('qemu-io', ['-f', 'qcow2', ...[...commands, 'flush', 'sigraise 9'].flatMap((c) => ['-c', c]), name], { cwd: dir })
  expect(signal).toBe('SIGKILL')
}

async function bytesAt(name: string, offset: number, readOnly: boolean): Promise<number> {
  const disk = await openDisk(at(name), readOnly, 'qcow2')
  try {
    const bytes = new Uint8Array(512)
    await disk.read(offset, bytes)
    expect(bytes.every((byte) => byte === bytes[0])).toBe(true)
    return bytes[0]
  } finally {
    await disk.close()
  }
}

describe('counts', () => {
  it.each([0, 1, 2, 3, 4, 5, 6])('of 2^%i bits are where they were put, and nowhere else', (order) => {
    const perBlock = countsPerBlock(512, order)
    const view = new DataView(new ArrayBuffer(512))
    const model = Array.from({ length: perBlock }, (_, i) => (i * 7919) % (Math.min(maxCount(order), 1e6) + 1))
    model.forEach((count, i) => setCount(view, order, i, 1 - (count & 1)))
    model.forEach((count, i) => setCount(view, order, i, count))
    expect(model.map((_, i) => getCount(view, order, i))).toEqual(model)
  })
})

describe('an image QEMU was killed on, with lazy refcounts', () => {
  it.each([
    ['64 KiB clusters', 'lazy_refcounts=on'], ['512-byte clusters', 'lazy_refcounts=on,cluster_size=512'], ['2 MiB clusters', 'lazy_refcounts=on,cluster_size=2M'],
    ['1-bit refcounts', 'lazy_refcounts=on,refcount_bits=1'], ['64-bit refcounts', 'lazy_refcounts=on,refcount_bits=64'],
  ])('is repaired when it is opened for writing: %s', async (_, options) => {
    rmSync(at('lazy.qcow2'), { force: true })
    qemuImg('create', '-q', '-f', 'qcow2', '-o', options, 'lazy.qcow2', '16M')
    killedWhile('lazy.qcow2', 'write -P 3 0 300k', 'write -P 4 9M 1M', 'write -P 5 100k 4k')
    expect(isDirty('lazy.qcow2')).toBe(true)
    expect(checkStatus('lazy.qcow2')).not.toBe(0)
    // Reading needs no counts and changes nothing.
    expect(await bytesAt('lazy.qcow2', 9 << 20, true)).toBe(4)
    expect(isDirty('lazy.qcow2')).toBe(true)
    const disk = await openDisk(at('lazy.qcow2'), false)
    await disk.write(2 << 20, new Uint8Array(70_144).fill(6))
    await disk.close()
    expect(isDirty('lazy.qcow2')).toBe(false)
    expect(qemuImg('check', '-f', 'qcow2', 'lazy.qcow2')).toMatch(/No errors/)
    for (const [offset, byte] of [[0, 3], [102_400, 5], [2 << 20, 6], [9 << 20, 4], [12 << 20, 0]]) expect(await bytesAt('lazy.qcow2', offset, true)).toBe(byte)
  })

  it('keeps what its snapshots and bitmaps use', async () => {
    rmSync(at('snap.qcow2'), { force: true })
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on', 'snap.qcow2', '8M')
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 1M', 'snap.qcow2'], { cwd: dir, stdio: 'ignore' })
    qemuImg('bitmap', '-f', 'qcow2', '--add', 'snap.qcow2', 'one')
    qemuImg('snapshot', '-c', 'before', 'snap.qcow2')
    killedWhile('snap.qcow2', 'write -P 2 512k 1M')
    const disk = await openDisk(at('snap.qcow2'), false)
    await disk.write(0, new Uint8Array(65536).fill(9))
    await disk.close()
    // The bitmap is out of date from the first write on, and only leaks from then.
    expect([0, 3]).toContain(checkStatus('snap.qcow2'))
    expect(await bytesAt('snap.qcow2', 1 << 20, true)).toBe(2)
    qemuImg('snapshot', '-a', 'before', 'snap.qcow2')
    expect(await bytesAt('snap.qcow2', 0, true)).toBe(1)
    expect(await bytesAt('snap.qcow2', 1 << 20, true)).toBe(0)
  })
})

describe('a dirty image', () => {
  const make = (...options: string[]): Buffer => {
    rmSync(at('made.qcow2'), { force: true })
    qemuImg('create', '-q', '-f', 'qcow2', ...options, 'made.qcow2', '8M')
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 0 2M', '-c', 'write -P 2 5M 70k', 'made.qcow2'], { cwd: dir, stdio: 'ignore' })
    const image = readFileSync(at('made.qcow2'))
    image[79] |= 1
    return image
  }
  const tableOf = (image: Buffer): number => Number(image.readBigUInt64BE(48))
  const open = async (image: Buffer): Promise<void> => {
    writeFileSync(at('dirty.qcow2'), image)
    await (await openDisk(at('dirty.qcow2'), false)).close()
  }

  it('gets the counts its tables ask for, whatever they were', async () => {
    for (const clusterSize of ['512', '4k', '64k']) {
      const image = make('-o', `cluster_size=${clusterSize}`)
      const block = Number(image.readBigUInt64BE(tableOf(image)))
      for (let i = 0; i < 400; i += 3) image[block + i] = (i * 31) & 255
      await open(image)
      expect(checkStatus('dirty.qcow2')).toBe(0)
      expect(await bytesAt('dirty.qcow2', 5 << 20, false)).toBe(2)
    }
  })

  it('gets refcount blocks where there are none', async () => {
    const image = make('-o', 'cluster_size=512')
    image.fill(0, tableOf(image), tableOf(image) + 512)
    await open(image)
    expect(checkStatus('dirty.qcow2')).toBe(0)
    expect(await bytesAt('dirty.qcow2', 1 << 20, false)).toBe(1)
  })

  it('is left as it is where its tables are damaged: one place used twice, past the end, in a circle', async () => {
    const sound = make()
    const l1 = Number(sound.readBigUInt64BE(40))
    const l2 = Number(sound.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n)
    const cases: readonly (readonly [number, bigint, RegExp])[] = [
      [l2 + 8, 65536n, /refcount table at byte 65536: its place .* something else/],
      [l2 + 8, BigInt(l2), /L2 table at byte \d+: its place/],
      [l2 + 8, 1n << 40n, /past the end/],
      [l1, 1n << 40n, /past the end/],
    ]
    for (const [offset, entry, message] of cases) {
      const image = Buffer.from(sound)
      image.writeBigUInt64BE(entry | (1n << 63n), offset)
      await expect(open(image), `${entry} at ${offset}`).rejects.toThrow(message)
      expect(readFileSync(at('dirty.qcow2')).equals(image)).toBe(true)
    }
  })
})

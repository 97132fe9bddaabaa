/** Check and resize of qcow2 images against qemu-img: the same findings, and images it finds sound. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDisk, resizeDisk } from '../../src/main/host/disks/open'
import { checkQcow2 } from '../../src/main/host/disks/qcow2/check'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'

const MIB = 1 << 20
const dir = mkdtempSync(join(tmpdir(), 'nestbox-qcow2-tools-'))
const at = (name: string): string => join(dir, name)
const run = (program: string, args: readonly string[]): string => execFileSync(program, args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const qemuImg = (...args: string[]): string => run('qemu-img', args)
const qemuIo = (name: string, ...commands: string[]): string => run('qemu-io', ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), name])
afterAll(() => rmSync(dir, { recursive: true, force: true }))

interface QemuCheck { corruptions?: number; leaks?: number; 'allocated-clusters'?: number; 'compressed-clusters'?: number; 'total-clusters'?: number }

function qemuCheck(name: string): QemuCheck {
  try {
    return JSON.parse(qemuImg('check', '-f', 'qcow2', '--output=json', name)) as QemuCheck
  } catch (error) {
    return JSON.parse((error as { stdout: string }).stdout) as QemuCheck
  }
}

beforeAll(() => {
  const bytes = Buffer.alloc(5 * MIB)
  for (let i = 0; i < MIB; i++) bytes[2 * MIB + i] = (i * 7 + (i >> 9)) & 255
  bytes.fill('some text ', 0, 70_000)
  writeFileSync(at('source.raw'), bytes)
})

describe('check', () => {
  it.each([
    ['plain', ''], ['version 2', 'compat=0.10'], ['512-byte clusters', 'cluster_size=512'], ['2 MiB clusters', 'cluster_size=2M'],
    ['1-bit refcounts', 'refcount_bits=1'], ['4-bit refcounts', 'refcount_bits=4'], ['64-bit refcounts', 'refcount_bits=64'], ['compressed', ''],
    ['4 KiB clusters, compressed', 'cluster_size=4k'],
  ])('counts as qemu-img does: %s', async (what, options) => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...(what.includes('compressed') ? ['-c'] : []), ...(options ? ['-o', options] : []), 'source.raw', 'sound.qcow2')
    const theirs = qemuCheck('sound.qcow2')
    expect(await checkQcow2(at('sound.qcow2'))).toMatchObject({
      corruptions: 0, leaks: 0, problems: [], dataClusters: theirs['allocated-clusters'] ?? 0,
      compressedClusters: theirs['compressed-clusters'] ?? 0, totalClusters: theirs['total-clusters'],
    })
  })

  it('counts what snapshots and bitmaps use', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', 'source.raw', 'rich.qcow2')
    qemuImg('snapshot', '-c', 'one', 'rich.qcow2')
    qemuIo('rich.qcow2', 'write -P 3 1M 200k')
    qemuImg('snapshot', '-c', 'two with a longer name', 'rich.qcow2')
    qemuImg('bitmap', '--add', 'rich.qcow2', 'changes')
    qemuIo('rich.qcow2', 'write -P 4 2M 300k', 'discard 0 64k', 'write -z 3M 64k')
    expect(qemuCheck('rich.qcow2')).not.toHaveProperty('leaks')
    expect(await checkQcow2(at('rich.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0, problems: [] })
  })

  it('finds what qemu-img finds in damaged images', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'source.raw', 'good.qcow2')
    const good = readFileSync(at('good.qcow2'))
    const block = Number(good.readBigUInt64BE(Number(good.readBigUInt64BE(48))))
    const l2 = Number(good.readBigUInt64BE(Number(good.readBigUInt64BE(40))) & 0x00fffffffffffe00n)
    let seed = 5
    const next = (below: number): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) % below
    const seen = { leaks: 0, corruptions: 0 }
    for (let round = 0; round < 40; round++) {
      const bytes = Buffer.from(good)
      if (round % 2 === 0) bytes.writeUInt16BE(next(4), block + next(200) * 2)
      else bytes.writeBigUInt64BE([0n, (1n << 63n) | BigInt(next(300) * 4096), BigInt(next(300) * 4096), 1n << 40n][next(4)], l2 + next(17) * 8)
      writeFileSync(at('bad.qcow2'), bytes)
      const [ours, theirs] = [await checkQcow2(at('bad.qcow2')), qemuCheck('bad.qcow2')]
      expect(ours.leaks, `round ${round}`).toBe(theirs.leaks ?? 0)
      expect(ours.corruptions > 0, `round ${round}: ${ours.problems.join('; ')}`).toBe((theirs.corruptions ?? 0) > 0)
      expect(ours.problems.length).toBe(Math.min(50, ours.corruptions))
      if (ours.leaks > 0) seen.leaks++
      if (ours.corruptions > 0) seen.corruptions++
    }
    expect(seen.leaks).toBeGreaterThan(5)
    expect(seen.corruptions).toBeGreaterThan(5)
  }, 60_000)
})

async function content(name: string): Promise<Buffer> {
  const disk = await openDisk(at(name), true)
  try {
    const all = Buffer.alloc(disk.sizeBytes)
    await disk.read(0, all)
    return all
  } finally {
    await disk.close()
  }
}

function expectSound(name: string): void {
  expect(qemuCheck(name)).toMatchObject({ 'check-errors': 0 })
  const { corruptions, leaks } = qemuCheck(name)
  expect([corruptions ?? 0, leaks ?? 0]).toEqual([0, 0])
}

describe('resize', () => {
  it.each([['ours', 9], ['ours', 16], ['QEMU’s, version 2', 12]] as const)('grows and shrinks: %s, clusters of 2^%i bytes', async (who, clusterBits) => {
    rmSync(at('size.qcow2'), { force: true })
    if (who === 'ours') await createQcow2(at('size.qcow2'), { sizeBytes: 5 * MIB + 512, clusterBits })
    else qemuImg('create', '-f', 'qcow2', '-o', `compat=0.10,cluster_size=${1 << clusterBits}`, 'size.qcow2', `${5 * MIB + 512}`)
    qemuIo('size.qcow2', 'write -P 5 0 100k', `write -P 6 5M 512`)
    await resizeDisk(at('size.qcow2'), 40 * MIB, 'qcow2')
    expectSound('size.qcow2')
    const grown = await content('size.qcow2')
    expect(grown.length).toBe(40 * MIB)
    expect(grown.subarray(0, 102_400).every((byte) => byte === 5)).toBe(true)
    expect(grown.subarray(5 * MIB, 5 * MIB + 512).every((byte) => byte === 6)).toBe(true)
    expect(grown.subarray(5 * MIB + 512).every((byte) => byte === 0)).toBe(true)
    qemuIo('size.qcow2', 'write -P 7 39M 1M')
    expectSound('size.qcow2')
    await resizeDisk(at('size.qcow2'), 50 * 1024 + 512, 'qcow2')
    expectSound('size.qcow2')
    // What was cut off does not come back.
    await resizeDisk(at('size.qcow2'), 41 * MIB, 'qcow2')
    expectSound('size.qcow2')
    const again = await content('size.qcow2')
    expect(again.subarray(0, 51_712).every((byte) => byte === 5)).toBe(true)
    expect(again.subarray(51_712).every((byte) => byte === 0)).toBe(true)
  })

  it.each([
    ['compressed', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'source.raw']],
    ['over a base', ['create', '-f', 'qcow2', '-o', 'cluster_size=4k', '-b', 'source.raw', '-F', 'raw']],
    ['version 2 over a base', ['create', '-f', 'qcow2', '-o', 'cluster_size=4k,compat=0.10', '-b', 'source.raw', '-F', 'raw']],
    ['with a bitmap', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'source.raw']],
  ] as const)('shrinks images %s to ends anywhere, and what was cut off does not come back', async (what, make) => {
    for (const sizeBytes of [512, 2 * MIB, 2 * MIB + 512, 2 * MIB + 70 * 1024, 4 * MIB]) {
      rmSync(at('cut.qcow2'), { force: true })
      qemuImg(...make, 'cut.qcow2')
      if (what === 'with a bitmap') qemuImg('bitmap', '--add', 'cut.qcow2', 'b')
      qemuIo('cut.qcow2', 'write -P 9 2100k 5k', 'write -P 8 4500k 9k', 'write -z 4600k 64k')
      const before = await content('cut.qcow2')
      await resizeDisk(at('cut.qcow2'), sizeBytes, 'qcow2')
      expect((await content('cut.qcow2')).equals(before.subarray(0, sizeBytes))).toBe(true)
      expect(qemuCheck('cut.qcow2')).toMatchObject({ 'check-errors': 0 })
      if (what !== 'with a bitmap') expectSound('cut.qcow2')
      await resizeDisk(at('cut.qcow2'), before.length, 'qcow2')
      const again = await content('cut.qcow2')
      expect(again.subarray(0, sizeBytes).equals(before.subarray(0, sizeBytes))).toBe(true)
      expect(again.subarray(sizeBytes).every((byte) => byte === 0)).toBe(true)
    }
  })

  it('keeps what internal snapshots hold, also of what is cut off', async () => {
    for (const sizeBytes of [MIB, 2 * MIB + 4096, 3 * MIB]) {
      rmSync(at('held.qcow2'), { force: true })
      qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', 'source.raw', 'held.qcow2')
      qemuImg('snapshot', '-c', 'then', 'held.qcow2')
      qemuIo('held.qcow2', 'write -P 9 2100k 5k')
      await resizeDisk(at('held.qcow2'), sizeBytes, 'qcow2')
      expectSound('held.qcow2')
      await resizeDisk(at('held.qcow2'), 5 * MIB, 'qcow2')
      expectSound('held.qcow2')
      expect((await content('held.qcow2')).subarray(sizeBytes).every((byte) => byte === 0)).toBe(true)
      qemuImg('convert', '-f', 'qcow2', '-O', 'raw', '-l', 'then', 'held.qcow2', 'then.raw')
      expect(readFileSync(at('then.raw')).equals(readFileSync(at('source.raw')))).toBe(true)
    }
  })

  // Longer than what one refcount block counts.
  it.each([[9, '600M', 600 * MIB], [12, '5T', 5 * 2 ** 40], [16, '64T', 2 ** 46]] as const)('makes room for long L1 tables: clusters of 2^%i bytes, %s', async (clusterBits, _, sizeBytes) => {
    rmSync(at('long.qcow2'), { force: true })
    await createQcow2(at('long.qcow2'), { sizeBytes: MIB, clusterBits })
    qemuIo('long.qcow2', 'write -P 5 0 100k')
    await resizeDisk(at('long.qcow2'), sizeBytes, 'qcow2')
    expectSound('long.qcow2')
    qemuIo('long.qcow2', `write -P 6 ${sizeBytes - MIB} 64k`, 'read -P 5 0 100k', `read -P 6 ${sizeBytes - MIB} 64k`)
    expectSound('long.qcow2')
    await resizeDisk(at('long.qcow2'), MIB, 'qcow2')
    expectSound('long.qcow2')
  })

  it('is cancelled before anything has changed', async () => {
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=512', 'source.raw', 'stays.qcow2')
    const before = readFileSync(at('stays.qcow2'))
    const abort = new AbortController()
    let told = 0
    const onProgress = (done: number, total: number): void => {
      told = done / total
      if (told > 0.2) abort.abort()
    }
    await expect(resizeDisk(at('stays.qcow2'), MIB, 'qcow2', { signal: abort.signal, onProgress })).rejects.toMatchObject({ name: 'AbortError' })
    expect(told).toBeGreaterThan(0.2)
    expect(readFileSync(at('stays.qcow2')).equals(before)).toBe(true)
    expectSound('stays.qcow2')
  })

  it('does not show more of a longer base', async () => {
    for (const compat of ['0.10', '1.1']) {
      qemuImg('create', '-f', 'qcow2', '-o', `compat=${compat}`, '-b', 'source.raw', '-F', 'raw', 'over.qcow2', `${2 * MIB + 1024}`)
      await resizeDisk(at('over.qcow2'), 6 * MIB, 'qcow2')
      expectSound('over.qcow2')
      const all = await content('over.qcow2')
      expect(all.subarray(0, 2 * MIB + 1024).equals(readFileSync(at('source.raw')).subarray(0, 2 * MIB + 1024))).toBe(true)
      expect(all.subarray(2 * MIB + 1024).every((byte) => byte === 0)).toBe(true)
    }
  })

  it('refuses what cannot be', async () => {
    qemuImg('create', '-f', 'qcow2', '-o', 'compat=0.10', 'snapped.qcow2', '1M')
    qemuImg('snapshot', '-c', 's', 'snapped.qcow2')
    await expect(resizeDisk(at('snapped.qcow2'), 2 * MIB, 'qcow2')).rejects.toThrow(/internal snapshots/)
    qemuImg('create', '-f', 'qcow2', '-o', 'cluster_size=512', 'small.qcow2', '1M')
    await expect(resizeDisk(at('small.qcow2'), 2 ** 50, 'qcow2')).rejects.toThrow(/larger clusters/)
    await expect(resizeDisk(at('small.qcow2'), 1000, 'qcow2')).rejects.toThrow(/multiple of 512/)
    await expect(resizeDisk(at('small.qcow2'), 1024, 'vdi')).rejects.toThrow(/cannot have another size/)
    expectSound('small.qcow2')
  })
})

import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { RecordedFile } from '../../../../tests/fixtures/recorded-file'
import { copyImage } from '../copy-file'
import { BeforeImages } from './before-images'
import { BlockFile } from './block-file'
import { CACHE_MODES } from './cache-mode'
import { openDisk, type OpenDisk } from './open'
import { checkQcow2 } from './qcow2/check'
import { createQcow2 } from './qcow2/create'

const MIB = 1 << 20
// Not in a temporary folder, which may be in memory: older kernels have no way past the cache that such a file system is itself.
const here = fileURLToPath(new URL('../../../../.cache/tests', import.meta.url))
let dir: string
const at = (name: string): string => join(dir, name)
beforeEach(() => {
  mkdirSync(here, { recursive: true })
  dir = mkdtempSync(join(here, 'before-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Writes anywhere until it is told to stop, as guests do: small and large, side by side, again and again at the same place. */
async function disturb(disk: OpenDisk, isOver: () => boolean): Promise<number> {
  let count = 0
  while (!isOver()) {
    await Promise.all(Array.from({ length: 8 }, () => {
      const length = 512 * (1 + Math.floor(Math.random() * (Math.random() < 0.2 ? 1024 : 16)))
      const offset = 512 * Math.floor(Math.random() * ((disk.sizeBytes - length) / 512))
      count++
      return Math.random() < 0.1 ? disk.discard(offset, length) : disk.write(offset, randomBytes(length))
    }))
    if (Math.random() < 0.1) await disk.flush()
  }
  return count
}

/** A copy of what the disk is now, made while it is written to. */
async function copyDisturbed(disk: OpenDisk, from: string, to: string): Promise<{ writes: number }> {
  const before = await disk.keepBefore?.(at('side'))
  if (!before) throw new Error('nothing is kept')
  let isOver = false
  const writes = disturb(disk, () => isOver)
  // Some of them come before the copy gets there.
  await new Promise((resolve) => setTimeout(resolve, 50))
  await copyImage(from, to, { sizeBytes: before.sizeBytes })
  await before.applyTo(to)
  await before.end()
  isOver = true
  return { writes: await writes }
}

describe('a copy of an instant, while the file is written to', () => {
  it.each(CACHE_MODES.flatMap((cache) => (['raw', 'qcow2'] as const).map((format) => ({ cache, format }))))('$format, $cache', async ({ cache, format }) => {
    const from = at('disk.img')
    if (format === 'raw') writeFileSync(from, Buffer.concat([randomBytes(20 * MIB), Buffer.alloc(4 * MIB), randomBytes(512)]))
    else await createQcow2(from, { sizeBytes: 24 * MIB })
    const disk = await openDisk(from, false, format, cache)
    for (let offset = 0; format === 'qcow2' && offset < 12 * MIB; offset += MIB) await disk.write(offset, randomBytes(MIB))
    for (const round of [1, 2]) {
      await disk.settle?.()
      const then = readFileSync(from)
      const { writes } = await copyDisturbed(disk, from, at(`copy${round}`))
      expect(writes).toBeGreaterThan(8)
      await disk.flush()
      expect(readFileSync(from).equals(then), 'nothing was written meanwhile').toBe(false)
      expect(readFileSync(at(`copy${round}`)).equals(then), `copy ${round}`).toBe(true)
      expect(existsSync(at('side'))).toBe(false)
      if (format === 'qcow2') expect(await checkQcow2(at(`copy${round}`))).toMatchObject({ corruptions: 0 })
    }
    await disk.close()
  })

  it('keeps each grain once, and nothing beyond the end of that instant', async () => {
    const bytes = randomBytes(3 * 65536 + 100)
    const file = new BlockFile(new RecordedFile(bytes).files, 'x')
    const before = await BeforeImages.begin(file, at('side'))
    await file.write(10, Buffer.from('one'))
    await file.write(20, Buffer.from('two'))
    await file.write(3 * 65536 + 50, Buffer.alloc(1000, 1))
    await file.write(10 * 65536, Buffer.alloc(1000, 1))
    expect(statSync(at('side')).size).toBe(65536 + 100)
    writeFileSync(at('copy'), Buffer.alloc(bytes.length, 7))
    await before.applyTo(at('copy'))
    await before.end()
    const copy = readFileSync(at('copy'))
    expect(copy.subarray(0, 65536).equals(bytes.subarray(0, 65536))).toBe(true)
    expect(copy.subarray(65536, 3 * 65536).every((byte) => byte === 7)).toBe(true)
    expect(copy.subarray(3 * 65536).equals(bytes.subarray(3 * 65536))).toBe(true)
  })

  it('where nothing more can be kept the write goes on and the copy is of no use', async () => {
    const recorded = new RecordedFile(Buffer.alloc(4 * 65536))
    let isBroken = false
    const { files } = recorded
    const broken = { ...files.file, read: () => Promise.reject(new Error('EIO')) }
    const file = new BlockFile({ ...files, get file() { return isBroken ? broken : files.file } }, 'x')
    const before = await BeforeImages.begin(file, at('side'))
    let told = 0
    before.onFailure = () => void told++
    await file.write(0, Buffer.from('well'))
    expect(told).toBe(0)
    isBroken = true
    await file.write(65536, Buffer.from('badly'))
    await file.write(2 * 65536, Buffer.from('badly'))
    expect(told).toBe(1)
    isBroken = false
    const back = Buffer.alloc(5)
    await file.read(2 * 65536, back)
    expect(back.toString()).toBe('badly')
    writeFileSync(at('copy'), '')
    await expect(before.applyTo(at('copy'))).rejects.toMatchObject({ code: 'disk-io' })
    await before.end()
    expect(existsSync(at('side'))).toBe(false)
  })
})

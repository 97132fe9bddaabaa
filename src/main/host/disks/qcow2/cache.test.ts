import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { openDisk } from '../open'
import { createQcow2 } from './create'
import { DiskFile } from './disk-file'
import { readHeader } from './header'
import { Refcounts } from './refcounts'

const dir = mkdtempSync(join(tmpdir(), 'nestbox-cache-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const check = (path: string): string => execFileSync('qemu-img', ['check', '-f', 'qcow2', path], { encoding: 'utf8' })

async function expectByte(path: string, offset: number, byte: number): Promise<void> {
  const disk = await openDisk(path, true, 'qcow2')
  try {
    const bytes = new Uint8Array(512)
    await disk.read(offset, bytes)
    expect(bytes.every((b) => b === byte), `byte ${offset} is ${bytes[0]}, not ${byte}`).toBe(true)
  } finally {
    await disk.close()
  }
}

describe('a guest that writes and never flushes', () => {
  it('loses nothing where more tables change than are kept in memory', async () => {
    const path = join(dir, 'tables.qcow2')
    // Eight tables of 2 MiB are kept; each is for 512 GiB.
    const tables = 12
    const span = 2 ** 39
    await createQcow2(path, { sizeBytes: tables * span, clusterBits: 21 })
    for (let round = 1; round <= 3; round++) {
      const disk = await openDisk(path, false, 'qcow2')
      for (let i = 0; i < tables; i++) await disk.write(i * span + round * 2 ** 21, new Uint8Array(512).fill(16 * round + i))
      for (let i = 0; i < tables; i++) {
        const bytes = new Uint8Array(512)
        await disk.read(i * span + round * 2 ** 21, bytes)
        expect(bytes[7]).toBe(16 * round + i)
      }
      await disk.close()
      expect(check(path)).toMatch(/No errors/)
    }
    for (let round = 1; round <= 3; round++) for (let i = 0; i < tables; i++) await expectByte(path, i * span + round * 2 ** 21, 16 * round + i)
  })

  it('loses no count where more blocks change than are kept in memory', async () => {
    const path = join(dir, 'blocks.qcow2')
    await createQcow2(path, { sizeBytes: 24 << 20, clusterBits: 9 })
    const file = await DiskFile.open(path, false)
    // Eight blocks of 256 counts.
    const counts = new Refcounts(file, await readHeader(file), 0)
    await counts.load()
    const taken = new Set<number>()
    for (let i = 0; i < 12_000; i++) taken.add(await counts.allocate())
    expect(counts.isCrowded).toBe(true)
    await counts.write()
    counts.trim()
    expect(counts.isCrowded).toBe(false)
    // From the first block on again, all of them changed.
    const all = [...taken]
    for (let i = 0; i < all.length; i += 3) await counts.release(all[i], 1)
    await counts.write()
    for (let i = 0; i < all.length; i += 7) expect(await counts.get(all[i])).toBe(i % 3 === 0 ? 0 : 1)
    expect(taken.size).toBe(12_000)
    expect(await counts.allocate()).toBe(all[0])
    expect(await counts.get(all[9999])).toBe(0)
    await file.close()
  })
})

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDisk, type OpenDisk } from '../open'
import { createQcow2 } from './create'

const MIB = 1 << 20

describe('discarded clusters', () => {
  let dir: string
  let path: string
  let disk: OpenDisk
  const at = (value: number): Buffer => Buffer.alloc(4 * MIB, value)

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-discard-'))
    path = join(dir, 'disk.qcow2')
    await createQcow2(path, { sizeBytes: 64 * MIB })
    disk = await openDisk(path, false, 'qcow2')
    await disk.write(0, at(1))
    await disk.flush()
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  it('are what is written next, wherever on the disk: the file does not grow', async () => {
    const { size } = statSync(path)
    for (let round = 1; round <= 6; round++) {
      await disk.discard((round - 1) * 8 * MIB, 4 * MIB)
      await disk.flush()
      await disk.write(round * 8 * MIB, at(1 + round))
      await disk.flush()
    }
    expect(statSync(path).size).toBe(size)
    const read = Buffer.alloc(4 * MIB)
    await disk.read(6 * 8 * MIB, read)
    expect(read.equals(at(7))).toBe(true)
    await disk.close()
    execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', path])
  })

  it('are not given away before the flush that makes the discard last', async () => {
    await disk.discard(0, 4 * MIB)
    await disk.write(8 * MIB, at(2))
    await disk.flush()
    // A power cut before the flush would have brought back a table that names them.
    expect(statSync(path).size).toBeGreaterThanOrEqual(8 * MIB)
    await disk.close()
  })

  it('that are many are given away without the guest\'s flush: the write that needs places makes one', async () => {
    await disk.write(0, Buffer.alloc(40 * MIB, 1))
    await disk.flush()
    const { size } = statSync(path)
    await disk.discard(0, 40 * MIB)
    for (let at = 40; at < 64; at += 4) await disk.write(at * MIB, Buffer.alloc(4 * MIB, at))
    expect(statSync(path).size).toBe(size)
    const read = Buffer.alloc(4 * MIB)
    await disk.read(60 * MIB, read)
    expect(read.equals(Buffer.alloc(4 * MIB, 60))).toBe(true)
    await disk.read(0, read)
    expect(read.equals(Buffer.alloc(4 * MIB))).toBe(true)
    await disk.close()
    execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', path])
  })
})

import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { openDisk } from '../open'
import { createQcow2 } from './create'
import { changeSince, decodeIdentity, encodeIdentity, identityOf } from './identity'
import { rebaseQcow2 } from './rebase'

const dir = mkdtempSync(join(tmpdir(), 'nestbox-identity-'))
const base = join(dir, 'base.raw')
const over = join(dir, 'over.qcow2')
const MIB = 1 << 20
afterAll(() => rmSync(dir, { recursive: true, force: true }))

async function firstByte(path: string): Promise<number> {
  const disk = await openDisk(path, true, 'qcow2')
  try {
    const bytes = new Uint8Array(512)
    await disk.read(0, bytes)
    return bytes[0]
  } finally {
    await disk.close()
  }
}

describe('the identity of a backing file', () => {
  beforeEach(async () => {
    rmSync(over, { force: true })
    writeFileSync(base, Buffer.alloc(MIB, 5))
    await createQcow2(over, { sizeBytes: MIB, backing: { path: 'base.raw', format: 'raw' } })
  })

  it('survives its encoding; versions to come are not compared', () => {
    const identity = { sizeBytes: 2 ** 41 + 512, modifiedNs: 1_700_000_000_123_456_789n }
    const bytes = encodeIdentity(identity)
    expect(decodeIdentity(new DataView(bytes.buffer), 0, bytes.length)).toEqual(identity)
    bytes[3] = 2
    expect(decodeIdentity(new DataView(bytes.buffer), 0, bytes.length)).toBeUndefined()
  })

  it('is the same in whole seconds where one side has no more', () => {
    const old = { sizeBytes: 1, modifiedNs: 5_000_000_123n }
    expect(changeSince(old, { ...old, modifiedNs: 5_000_000_000n })).toBeUndefined()
    expect(changeSince(old, { ...old, modifiedNs: 5_000_000_124n })).toMatch(/last changed/)
    expect(changeSince(old, { ...old, modifiedNs: 6_000_000_000n })).toMatch(/last changed/)
  })

  it('lets the image open as long as it is the same, also after QEMU wrote to the image', async () => {
    expect(await firstByte(over)).toBe(5)
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 64k 64k', over], { stdio: 'ignore' })
    execFileSync('qemu-img', ['check', '-f', 'qcow2', over], { stdio: 'ignore' })
    expect(await firstByte(over)).toBe(5)
    writeFileSync(base, Buffer.alloc(MIB, 6))
    utimesSync(base, 1, 1)
    await expect(openDisk(over, true)).rejects.toThrow(/over\.qcow2 is laid over .*base\.raw, which was changed since: it was last changed/)
  })

  it('names a backing file that was changed, for reading and for writing, also below', async () => {
    const above = join(dir, 'above.qcow2')
    rmSync(above, { force: true })
    await createQcow2(above, { sizeBytes: MIB, backing: { path: over, format: 'qcow2' } })
    truncateSync(base, 2 * MIB)
    for (const readOnly of [true, false]) await expect(openDisk(over, readOnly)).rejects.toThrow(/it had 1048576 bytes and has 2097152/)
    await expect(openDisk(above, false)).rejects.toThrow(/over\.qcow2 is laid over .*base\.raw, which was changed since/)
  })

  it('names a backing file that was written to as a disk', async () => {
    const middle = join(dir, 'middle.qcow2')
    rmSync(middle, { force: true })
    await createQcow2(middle, { sizeBytes: MIB, backing: { path: over, format: 'qcow2' } })
    const disk = await openDisk(over, false)
    await disk.write(0, new Uint8Array(512).fill(9))
    await disk.close()
    await expect(openDisk(middle, false)).rejects.toThrow(/middle\.qcow2 is laid over .*over\.qcow2, which was changed since/)
  })

  it('is not changed by opening a backing file and closing it', async () => {
    const before = statSync(over, { bigint: true }).mtimeNs
    const disk = await openDisk(over, false)
    await disk.flush()
    await disk.close()
    expect(statSync(over, { bigint: true }).mtimeNs).toBe(before)
  })

  it('is taken anew by rebase, which also moves the image to another backing file', async () => {
    writeFileSync(base, Buffer.alloc(2 * MIB, 8))
    await rebaseQcow2(over)
    expect(await firstByte(over)).toBe(8)
    writeFileSync(join(dir, 'other.raw'), Buffer.alloc(MIB, 9))
    await rebaseQcow2(over, { path: 'other.raw', format: 'raw' })
    expect(await firstByte(over)).toBe(9)
    execFileSync('qemu-img', ['check', '-f', 'qcow2', over], { stdio: 'ignore' })
    await expect(rebaseQcow2(over, { path: 'none.raw', format: 'raw' })).rejects.toThrow(/none\.raw cannot be opened/)
    expect(await firstByte(over)).toBe(9)
  })

  it('is taken anew in a copy where the header has no room for the old and the new name', async () => {
    const deep = join(dir, 'd'.repeat(200), 'd'.repeat(200), 'd'.repeat(200))
    mkdirSync(deep, { recursive: true })
    const moved = join(deep, 'base.raw')
    const small = join(dir, 'small.qcow2')
    writeFileSync(moved, Buffer.alloc(MIB, 4))
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=1024', '-b', base, '-F', 'raw', small])
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 64k 64k', small], { stdio: 'ignore' })
    chmodSync(small, 0o640)
    const top = join(dir, 'top.qcow2')
    await createQcow2(top, { sizeBytes: MIB, backing: { path: 'small.qcow2', format: 'qcow2', identity: await identityOf(small) } })
    const before = statSync(small)
    await rebaseQcow2(small, { path: relative(dir, moved), format: 'raw' })
    expect(statSync(small)).toMatchObject({ mode: before.mode, size: before.size })
    expect(statSync(small).ino).not.toBe(before.ino)
    execFileSync('qemu-img', ['check', '-f', 'qcow2', small], { stdio: 'ignore' })
    // What is laid over it does not notice.
    expect(await firstByte(top)).toBe(4)
    expect(readdirSync(dir).filter((name) => name.startsWith('small') || name.startsWith('.small'))).toEqual(['small.qcow2'])
  })

  it('keeps what QEMU put into the header when it is rebased', async () => {
    const theirs = join(dir, 'theirs.qcow2')
    for (const compat of ['0.10', '1.1']) {
      rmSync(theirs, { force: true })
      execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `compat=${compat}`, '-b', 'over.qcow2', '-F', 'qcow2', theirs])
      if (compat === '1.1') execFileSync('qemu-img', ['bitmap', '-f', 'qcow2', '--add', theirs, 'kept'])
      await rebaseQcow2(theirs, { path: base, format: 'raw' })
      const info = JSON.parse(execFileSync('qemu-img', ['info', '--output=json', theirs], { encoding: 'utf8' })) as Record<string, unknown>
      expect(info).toMatchObject({ 'backing-filename': base, 'backing-filename-format': 'raw' })
      if (compat === '1.1') expect(JSON.stringify(info)).toContain('"kept"')
      expect(await firstByte(theirs)).toBe(5)
    }
  })
})

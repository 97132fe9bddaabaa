import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { keptTime, lockDisk, withDiskLock } from './lock'
import { openDisk } from './open'

describe('the lock of a disk', () => {
  let dir: string
  let disk: string
  const lockFile = (): string => join(dir, '.disk.img.lock')
  /** A process number that was in use a moment ago. */
  const deadPid = (): number => spawnSync(process.execPath, ['-e', '']).pid

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-lock-'))
    disk = join(dir, 'disk.img')
    writeFileSync(disk, Buffer.alloc(4096))
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  it('is had by one at a time', async () => {
    const lock = await lockDisk(disk)
    await expect(lockDisk(disk)).rejects.toThrow(/disk\.img is in use: this machine has it already/)
    await lock?.release()
    expect(existsSync(lockFile())).toBe(false)
    await (await lockDisk(disk))?.release()
  })

  it('is one whatever the file is called', async () => {
    symlinkSync(disk, join(dir, 'other-name'))
    const lock = await lockDisk(disk)
    await expect(lockDisk(join(dir, 'other-name'))).rejects.toThrow(/in use/)
    await lock?.release()
  })

  it('names the process that has it', async () => {
    writeFileSync(lockFile(), JSON.stringify({ pid: process.ppid, host: hostname(), token: 'x' }))
    await expect(lockDisk(disk)).rejects.toThrow(`process ${process.ppid} has it open`)
    writeFileSync(lockFile(), JSON.stringify({ pid: 1, host: 'another-computer', token: 'x' }))
    await expect(lockDisk(disk)).rejects.toThrow(/process 1 on another-computer/)
  })

  it('of a dead process counts for nothing, nor does that of one whose number is used again', async () => {
    for (const holder of [{ pid: deadPid(), host: hostname(), token: 'x' }, { pid: process.ppid, began: '1', host: hostname(), token: 'y' }]) {
      writeFileSync(lockFile(), JSON.stringify(holder))
      const lock = await lockDisk(disk)
      expect(lock).toBeDefined()
      await lock?.release()
    }
    expect(readdirSync(dir)).toEqual(['disk.img'])
  })

  it('half written and old counts for nothing', async () => {
    writeFileSync(lockFile(), '{"pid"')
    utimesSync(lockFile(), new Date(0), new Date(0))
    await (await lockDisk(disk))?.release()
  })

  it('of many that try at once after a crash, one has it', async () => {
    for (let round = 0; round < 20; round++) {
      writeFileSync(lockFile(), JSON.stringify({ pid: deadPid(), host: hostname(), token: 'x' }))
      const results = await Promise.allSettled(Array.from({ length: 20 }, () => lockDisk(disk)))
      const held = results.filter((result) => result.status === 'fulfilled')
      expect(held).toHaveLength(1)
      await held[0].value?.release()
    }
  })

  it('a process killed while it removed a stale lock keeps nobody out', async () => {
    writeFileSync(lockFile(), JSON.stringify({ pid: deadPid(), host: hostname(), token: 'x' }))
    writeFileSync(`${lockFile()}.stale`, '')
    utimesSync(`${lockFile()}.stale`, new Date(0), new Date(0))
    await (await lockDisk(disk))?.release()
    expect(readdirSync(dir)).toEqual(['disk.img'])
  })

  it('is given back when work fails', async () => {
    await expect(withDiskLock(disk, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    expect(existsSync(lockFile())).toBe(false)
  })

  it('keeps a second writer out, and no reader', async () => {
    const first = await openDisk(disk, false, 'raw')
    await expect(openDisk(disk, false, 'raw')).rejects.toThrow(/in use/)
    await (await openDisk(disk, true, 'raw')).close()
    await first.close()
    await (await openDisk(disk, false, 'raw')).close()
  })

  it('says what time an image keeps whose writer was killed, but not where somebody wrote to it later', async () => {
    const was = new Date('2026-01-02T03:04:05Z')
    const keepsNs = BigInt(was.getTime()) * 1_000_000n
    const leave = (): void => writeFileSync(lockFile(), JSON.stringify({ pid: deadPid(), host: hostname(), token: 'x', keepsNs: String(keepsNs) }))
    leave()
    writeFileSync(disk, 'its description, say')
    const modifiedNs = statSync(disk, { bigint: true }).mtimeNs
    expect(await keptTime(disk, modifiedNs)).toBe(keepsNs)
    expect(await keptTime(disk, modifiedNs + 120_000_000_000n)).toBeUndefined()
    expect(await keptTime(disk, modifiedNs - 120_000_000_000n)).toBeUndefined()
    // Whoever has the image next gives it its time back.
    await (await lockDisk(disk))?.release()
    expect(statSync(disk).mtime).toEqual(was)
    expect(await keptTime(disk, modifiedNs)).toBeUndefined()
  })
})

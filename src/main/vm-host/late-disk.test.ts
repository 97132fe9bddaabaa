import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDisk } from '../host'
import { LateDisk } from './late-disk'

let dir: string
const at = (name: string): string => join(dir, name)
const settings = { path: '', format: 'raw' as const, readOnly: false }
const sector = (value: number): Buffer => Buffer.alloc(512, value)
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-late-'))
  writeFileSync(at('source'), Buffer.concat([sector(1), sector(2), sector(3)]))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

async function readAt(disk: LateDisk, offset: number): Promise<number> {
  const bytes = Buffer.alloc(512)
  await disk.read(offset, bytes)
  return bytes[0]
}

/** Whether it has been settled by now. */
const isSettled = (job: Promise<unknown>): Promise<boolean> =>
  Promise.race([job.then(() => true, () => true), new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 30))])

describe('a disk that is still being made as a copy', () => {
  it('reads from what it is copied from; changes wait for it, in their order, and flushes for changes', async () => {
    const late = await LateDisk.copyOf(at('source'), settings)
    expect(late).toMatchObject({ sizeBytes: 1536, readOnly: false, blockSize: 512 })
    await late.flush()
    expect(await readAt(late, 512)).toBe(2)
    const jobs = [late.write(512, sector(7)), late.write(512, sector(8)), late.flush(), late.discard(0, 512)]
    expect(await Promise.all(jobs.map(isSettled))).toEqual([false, false, false, false])
    expect(await readAt(late, 1024)).toBe(3)
    writeFileSync(at('copy'), readFileSync(at('source')))
    const disk = await openDisk(at('copy'), false, 'raw')
    expect(late.fits(disk)).toBe(true)
    late.use(disk)
    await Promise.all(jobs)
    expect(await readAt(late, 512)).toBe(8)
    await late.write(1024, sector(9))
    await late.flush()
    await disk.close()
    expect([...readFileSync(at('copy'))].filter((_, i) => i % 512 === 0)).toEqual([1, 8, 9])
    expect([...readFileSync(at('source'))].filter((_, i) => i % 512 === 0)).toEqual([1, 2, 3])
  })

  it('that will never be there lets nobody wait', async () => {
    const late = await LateDisk.copyOf(at('source'), settings)
    const job = late.write(0, sector(7))
    const failed = expect(job).rejects.toThrow('no')
    await late.giveUp(new Error('no'))
    await failed
    await expect(late.write(0, sector(7))).rejects.toThrow('no')
    await expect(readAt(late, 0)).rejects.toThrow('no')
  })

  it('without anything to read from lets reads wait too', async () => {
    const late = await LateDisk.like(at('source'), settings)
    const jobs = [readAt(late, 0), late.flush()]
    expect(await Promise.all(jobs.map(isSettled))).toEqual([false, false])
    const disk = await openDisk(at('source'), false, 'raw')
    late.use(disk)
    expect(await jobs[0]).toBe(1)
    await disk.close()
  })

  it('is refused where there is nothing to copy', async () => {
    await expect(LateDisk.copyOf(at('none'), settings)).rejects.toMatchObject({ code: 'disk-io' })
  })
})

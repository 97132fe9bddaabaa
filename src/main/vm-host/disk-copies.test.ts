import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDisk, type OpenDisk } from '../host'
import { DiskCopies } from './disk-copies'

const SMALL = randomBytes(3 << 10)
const LARGE = randomBytes(24 << 20)
let dir: string
let disk: OpenDisk
const at = (name: string): string => join(dir, name)
const copy = (name: string): { from: string; to: string } => ({ from: at(name), to: at(`${name}.copy`) })
const signal = (): AbortSignal => new AbortController().signal
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-disk-copies-'))
  writeFileSync(at('small'), SMALL)
  writeFileSync(at('large'), LARGE)
  disk = await openDisk(at('large'), false, 'raw')
})
afterEach(async () => {
  await disk.close()
  rmSync(dir, { recursive: true, force: true })
})

describe('disks copied with a state', () => {
  it('are those of the instant, whatever is written after it; half of the whole, and the memory the other half', async () => {
    const seen: number[] = []
    const copies = new DiskCopies([copy('small'), copy('large')], [disk], (fraction) => seen.push(fraction))
    await copies.begin(signal())
    const written = Promise.all(Array.from({ length: 200 }, (_, i) => disk.write(i << 16, Buffer.alloc(1 << 15, i))))
    copies.memoryDone(0)
    const finished = copies.finish(signal())
    copies.memoryDone(0.5)
    await Promise.all([written, finished])
    copies.memoryDone(1)
    await copies.syncAll()
    await copies.end()
    expect(readFileSync(at('small.copy')).equals(SMALL)).toBe(true)
    expect(readFileSync(at('large.copy')).equals(LARGE)).toBe(true)
    expect(readFileSync(at('large')).equals(LARGE)).toBe(false)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(1)
    expect(readdirSync(dir).filter((name) => !name.endsWith('.lock')).sort()).toEqual(['large', 'large.copy', 'small', 'small.copy'])
  })

  it('none are the memory alone', () => {
    const seen: number[] = []
    new DiskCopies([], [disk], (fraction) => seen.push(fraction)).memoryDone(0.25)
    expect(seen).toEqual([0.25])
  })

  it('are given up at once, and nothing is left of the one that was copied', async () => {
    const abort = new AbortController()
    const copies = new DiskCopies([copy('small'), copy('large')], [disk], () => undefined)
    await copies.begin(abort.signal)
    const done = copies.finish(abort.signal)
    while (!existsSync(at('large.copy'))) await new Promise((resolve) => setImmediate(resolve))
    abort.abort()
    // A copy that was as quick as that is whole.
    const outcome = await done.then(() => 'done', (error: Error) => error.name)
    await copies.end()
    expect(existsSync(at('large.copy'))).toBe(outcome === 'done')
    expect(['done', 'AbortError']).toContain(outcome)
    await expect(new DiskCopies([copy('small')], [disk], () => undefined).begin(abort.signal)).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('name the copy that cannot be written', async () => {
    const copies = new DiskCopies([{ from: at('small'), to: at('none/copy') }], [disk], () => undefined)
    await expect((async () => {
      await copies.begin(signal())
      await copies.finish(signal())
    })()).rejects.toMatchObject({ code: 'disk-io', details: { path: at('none/copy'), errno: 'ENOENT' } })
  })

  it('where what is overwritten finds no room beside the copy, say so; the guest has written', async () => {
    const copies = new DiskCopies([copy('large')], [disk], () => undefined)
    await copies.begin(signal())
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
    Object.assign(Reflect.get(copies, 'begun')[0].before, { sideFile: { write: () => Promise.reject(full), close: () => Promise.resolve() } })
    const finished = copies.finish(signal())
    await disk.write(0, Buffer.alloc(512, 1))
    await expect(finished).rejects.toMatchObject({ code: 'disk-io', details: { path: at('large.copy'), errno: 'ENOSPC' } })
    await copies.end()
    expect(readFileSync(at('large')).subarray(0, 512).every((byte) => byte === 1)).toBe(true)
  })
})

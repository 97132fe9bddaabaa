import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DiskCopies } from './disk-copies'

let dir: string
const at = (name: string): string => join(dir, name)
const copy = (name: string): { from: string; to: string } => ({ from: at(name), to: at(`${name}.copy`) })
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-disk-copies-'))
  writeFileSync(at('small'), Buffer.alloc(3000, 1))
  writeFileSync(at('large'), Buffer.alloc(24 << 20, 2))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

describe('disks copied with a state', () => {
  it('are equal, and half of the whole; the memory is the other half', async () => {
    const seen: number[] = []
    const copies = new DiskCopies([copy('small'), copy('large')], (fraction) => seen.push(fraction))
    await copies.copyAll(new AbortController().signal)
    await copies.syncAll()
    copies.memoryDone(0)
    copies.memoryDone(1)
    for (const name of ['small', 'large']) expect(readFileSync(at(`${name}.copy`)).equals(readFileSync(at(name)))).toBe(true)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.slice(-2)).toEqual([0.5, 1])
  })

  it('none are the memory alone', async () => {
    const seen: number[] = []
    const copies = new DiskCopies([], (fraction) => seen.push(fraction))
    await copies.copyAll(new AbortController().signal)
    copies.memoryDone(0.25)
    expect(seen).toEqual([0.25])
  })

  it('are given up at once, and nothing is left of the one that was copied', async () => {
    const abort = new AbortController()
    const done = new DiskCopies([copy('small'), copy('large')], () => undefined).copyAll(abort.signal)
    while (!existsSync(at('large.copy'))) await new Promise((resolve) => setImmediate(resolve))
    abort.abort()
    // A copy that was as quick as that is whole.
    const outcome = await done.then(() => 'done', (error: Error) => error.name)
    expect(existsSync(at('large.copy'))).toBe(outcome === 'done')
    expect(['done', 'AbortError']).toContain(outcome)
    await expect(new DiskCopies([copy('small')], () => undefined).copyAll(abort.signal)).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('name the copy that cannot be written', async () => {
    const copies = new DiskCopies([{ from: at('small'), to: at('none/copy') }], () => undefined)
    await expect(copies.copyAll(new AbortController().signal)).rejects.toMatchObject({ code: 'disk-io', details: { path: at('none/copy'), errno: 'ENOENT' } })
  })
})

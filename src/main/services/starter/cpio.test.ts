import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeCpio, type ArchiveEntry } from './cpio'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-cpio-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Unpacks with the system's own cpio, the reference for the format. */
function unpack(entries: ArchiveEntry[]): string {
  const { status, stderr } = spawnSync('cpio', ['-i', '--quiet', '--no-absolute-filenames'], { cwd: dir, input: writeCpio(entries), encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return dir
}

describe('cpio archives', () => {
  it('come out of cpio as they went in, whatever their length', () => {
    const files = [0, 1, 2, 3, 4, 5, 511, 512, 70_001].map((length) => ({
      // Names of many lengths too: both are padded.
      path: `d/${'n'.repeat(length % 7 + 1)}${length}`, mode: 0o100644, data: Buffer.from(Array.from({ length }, (_, i) => (i * 31 + length) & 0xff)),
    }))
    const out = unpack([{ path: 'd', mode: 0o040755 }, ...files])
    for (const { path, data } of files) expect(readFileSync(join(out, path)).equals(data), path).toBe(true)
  })

  it('keep what is executable', () => {
    const out = unpack([{ path: 'init', mode: 0o100755, data: Buffer.from('#!/bin/sh\n') }, { path: 'notes', mode: 0o100600, data: Buffer.from('x') }])
    expect(statSync(join(out, 'init')).mode & 0o777).toBe(0o755)
    expect(statSync(join(out, 'notes')).mode & 0o777).toBe(0o600)
  })

  it('are the same bytes for the same files', () => {
    const entries = [{ path: 'a', mode: 0o100644, data: Buffer.from('same') }]
    expect(writeCpio(entries).equals(writeCpio(entries))).toBe(true)
  })
})

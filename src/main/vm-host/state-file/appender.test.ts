import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Appender } from './appender'

const MIB = 1 << 20
let dir: string
let file: FileHandle

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-appender-'))
  file = await open(join(dir, 'file'), 'w')
})
afterEach(async () => {
  await file.close()
  rmSync(dir, { recursive: true, force: true })
})

it.each([[false], [true]])('everything is in the file in its order, wherever it was to be (alone: %s)', async (alone) => {
  const out = new Appender(file, { durable: true, alone })
  const parts = Array.from({ length: 300 }, (_, i) => Buffer.alloc(1 + ((i * 7919) % 300_000), i))
  let at = 0
  for (const part of parts) {
    expect(out.add(part)).toBe(at)
    at += part.length
    await out.relieve()
  }
  await out.sync()
  expect(readFileSync(join(dir, 'file')).equals(Buffer.concat(parts))).toBe(true)
})

it('what was written may be changed at once where nothing else waits', async () => {
  const out = new Appender(file, { durable: false, alone: true })
  const scratch = Buffer.alloc(1000, 1)
  out.add(scratch)
  scratch.fill(2)
  out.add(scratch)
  await out.sync()
  expect(readFileSync(join(dir, 'file'))).toEqual(Buffer.concat([Buffer.alloc(1000, 1), Buffer.alloc(1000, 2)]))
})

it.each([[false], [true]])('a medium that fails once, while more is written, fails the whole (alone: %s)', async (alone) => {
  const out = new Appender(file, { durable: true, alone })
  file.datasync = () => Promise.reject(Object.assign(new Error('the medium is gone'), { code: 'EIO' }))
  const fill = async (): Promise<void> => {
    for (let i = 0; i < 40; i++) {
      out.add(Buffer.alloc(MIB, i))
      await out.relieve()
    }
    await out.sync()
  }
  await expect(fill()).rejects.toThrow('the medium is gone')
  await expect(out.sync()).rejects.toThrow('the medium is gone')
  await out.settle()
})

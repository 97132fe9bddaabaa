import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { copyImage } from './copy-file'

const MIB = 1 << 20

describe('copyImage', () => {
  let dir: string
  let from: string
  let to: string
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-copy-'))
    from = join(dir, 'a')
    to = join(dir, 'b')
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  const contents = (size: number): Buffer => {
    const bytes = Buffer.alloc(size)
    for (const at of [0, size / 2, size - 700]) bytes.fill('x', at, at + 700)
    return bytes
  }

  it.each(['sparse', 'full'])('copies %s files byte by byte, with holes', async (kind) => {
    const bytes = contents(8 * MIB)
    if (kind === 'full') writeFileSync(from, bytes)
    else {
      writeFileSync(from, bytes.subarray(0, 3 * MIB))
      truncateSync(from, 8 * MIB)
      bytes.fill(0, 3 * MIB)
    }
    const seen: number[] = []
    await copyImage(from, to, { onProgress: (done, total) => seen.push(done / total) })
    expect(readFileSync(to).equals(bytes)).toBe(true)
    expect(statSync(to).blocks * 512).toBeLessThan(MIB)
    expect(seen.every((fraction) => fraction >= 0 && fraction <= 1)).toBe(true)
  })

  it('without the program that knows holes does the same', async () => {
    writeFileSync(from, 'x')
    truncateSync(from, 4 * MIB + 3)
    const { PATH } = process.env
    process.env.PATH = dir
    try {
      await copyImage(from, to)
    } finally {
      process.env.PATH = PATH
    }
    expect(readFileSync(to).equals(readFileSync(from))).toBe(true)
  })

  it('touches nothing that is there, and leaves nothing where it fails', async () => {
    writeFileSync(from, contents(MIB))
    writeFileSync(to, 'mine')
    await expect(copyImage(from, to)).rejects.toMatchObject({ code: 'EEXIST' })
    expect(readFileSync(to, 'utf8')).toBe('mine')
    await expect(copyImage(join(dir, 'none'), join(dir, 'c'))).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(copyImage(from, join(dir, 'none', 'c'))).rejects.toMatchObject({ code: 'ENOENT' })
    for (const sparse of [false, true]) {
      if (sparse) truncateSync(from, 64 * MIB)
      const abort = new AbortController()
      setImmediate(() => abort.abort())
      // Too late for a copy this quick, at times: then it is whole.
      await copyImage(from, join(dir, 'd'), { signal: abort.signal }).then(() => rmSync(join(dir, 'd')), (error: Error) => expect(error.name).toBe('AbortError'))
    }
    await expect(copyImage(from, join(dir, 'e'), { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' })
    expect(readdirSync(dir).sort()).toEqual(['a', 'b'])
  })
})

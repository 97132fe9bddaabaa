/** Copies disk images: shared blocks where the file system can, else with holes kept. */
import { constants } from 'node:fs'
import { copyFile, open, rm } from 'node:fs/promises'

const BLOCK = 1 << 20
/** Zeroes shorter than this are written like anything else. */
const GRAIN = 1 << 16

/** Parts of a block that are not all zero, as [start, end) in whole grains. */
function* dataIn(block: Buffer): Generator<readonly [number, number]> {
  const zeroes = Buffer.alloc(GRAIN)
  let start = -1
  for (let at = 0; at < block.length; at += GRAIN) {
    const part = block.subarray(at, at + GRAIN)
    const isZero = part.equals(zeroes.subarray(0, part.length))
    if (!isZero && start < 0) start = at
    if (isZero && start >= 0) {
      yield [start, at]
      start = -1
    }
  }
  if (start >= 0) yield [start, block.length]
}

export interface CopyOptions {
  readonly signal?: AbortSignal
  /** @param done bytes dealt with, of `total` */
  readonly onProgress?: (done: number, total: number) => void
}

async function copySparse(from: string, to: string, { signal, onProgress }: CopyOptions): Promise<void> {
  const source = await open(from, 'r')
  try {
    const target = await open(to, 'wx', 0o600)
    try {
      const { size } = await source.stat()
      await target.truncate(size)
      const buffer = Buffer.allocUnsafe(BLOCK)
      for (let at = 0; at < size;) {
        signal?.throwIfAborted()
        const { bytesRead } = await source.read(buffer, 0, Math.min(BLOCK, size - at), at)
        if (bytesRead === 0) throw new Error(`${from} became shorter while it was copied`)
        for (const [start, end] of dataIn(buffer.subarray(0, bytesRead))) await target.write(buffer, start, end - start, at + start)
        at += bytesRead
        onProgress?.(at, size)
      }
      await target.sync()
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** `to` must not exist; it is durable when this resolves, and gone where it failed. Rejects with Node's system error, or AbortError. */
export async function copyImage(from: string, to: string, options: CopyOptions = {}): Promise<void> {
  try {
    options.signal?.throwIfAborted()
    try {
      await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
      await rm(to, { force: true })
      return await copySparse(from, to, options)
    }
    const file = await open(to, 'r+')
    await file.sync()
    await file.close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(to, { force: true }).catch(() => undefined)
    throw error
  }
}

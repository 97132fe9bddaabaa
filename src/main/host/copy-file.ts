/** Copies disk images: shared blocks where the file system can, else with holes kept. */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { copyFile, open, rm, stat, truncate } from 'node:fs/promises'

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
  /** False where the caller makes the copy durable later. */
  readonly durable?: boolean
  /** So much of the file is copied, of one that may grow meanwhile; all of it unless given. */
  readonly sizeBytes?: number
}

async function copySparse(from: string, to: string, { signal, onProgress, sizeBytes }: CopyOptions): Promise<void> {
  const source = await open(from, 'r')
  try {
    const target = await open(to, 'wx', 0o600)
    try {
      const size = sizeBytes ?? (await source.stat()).size
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
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

/** How often a copy made by another program is looked at. */
const LOOK_EVERY_MS = 100

/** Smaller files are copied before another program is started. */
const WORTH_A_PROGRAM_BYTES = 1 << 20

/**
 * Node cannot ask where a file has holes and would read them all; `cp` of GNU asks, and is four times as quick with the rest.
 * @returns false where there is no such program or it could not do it; nothing is left then
 */
async function copyByTool(from: string, to: string, { signal, onProgress, sizeBytes }: CopyOptions): Promise<boolean> {
  if (process.platform !== 'linux') return false
  const { size: hasNow, blocks } = await stat(from)
  const size = sizeBytes ?? hasNow
  if (size < WORTH_A_PROGRAM_BYTES) return false
  // Exclusively, and with its mode: `cp` then fills what is there.
  await (await open(to, 'wx', 0o600)).close()
  const child = spawn('cp', ['--sparse=always', '--reflink=auto', '--no-target-directory', '--', from, to], { stdio: 'ignore' })
  const kill = (): void => void child.kill('SIGKILL')
  signal?.addEventListener('abort', kill, { once: true })
  const timer = onProgress && setInterval(() => {
    void stat(to).then((made) => onProgress(Math.min(1, made.blocks / Math.max(1, blocks)) * size, size)).catch(() => undefined)
  }, LOOK_EVERY_MS)
  const code = await new Promise<number | null>((resolve) => {
    child.on('error', () => resolve(null))
    child.on('close', resolve)
  })
  clearInterval(timer)
  signal?.removeEventListener('abort', kill)
  if (code === 0 && await cutTo(to, size)) return true
  await rm(to, { force: true })
  signal?.throwIfAborted()
  return false
}

/** @returns false where the file is shorter */
async function cutTo(path: string, size: number): Promise<boolean> {
  const has = (await stat(path)).size
  if (has > size) await truncate(path, size)
  return has >= size
}

/**
 * Has the new file `to` share the blocks of `from`: a copy that takes no time and no room.
 * @returns false where the file system does not know that; `to` is not there then. Rejects with Node's error where `to` was there before
 */
export async function shareBlocks(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    await rm(to, { force: true })
    return false
  }
}

/** Makes what was written to a file durable. */
export async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  await file.sync().finally(() => file.close())
}

/**
 * `to` must not exist; it is there as a whole when this resolves (and durable, unless `durable` is false), and gone where it
 * failed. Rejects with Node's system error, or AbortError.
 */
export async function copyImage(from: string, to: string, options: CopyOptions = {}): Promise<void> {
  try {
    options.signal?.throwIfAborted()
    // What is shared is the whole file, however much of it there is by then.
    const isDone = options.sizeBytes === undefined && await shareBlocks(from, to)
    if (!isDone && !(await copyByTool(from, to, options))) await copySparse(from, to, options)
    if (options.durable ?? true) await syncFile(to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(to, { force: true }).catch(() => undefined)
    throw error
  }
}

/** Writes a tar archive under a temporary name, then gives it its own: nobody sees half of one. */
import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { once } from 'node:events'
import { finished } from 'node:stream/promises'
import { pack, type Pack } from 'tar-stream'
import { writeError } from '../errors'
import { syncFolder } from '../files'

/** @param name path of it beside the target, which is on the same file system */
export const temporaryName = (target: string): string => `${target}.tmp-${randomBytes(6).toString('hex')}`

export class TarWriter {
  constructor(private readonly tar: Pack, private readonly failed: () => unknown) {}

  /** @param content exactly `size` bytes, in any pieces */
  async add(name: string, size: number, content: AsyncIterable<Uint8Array> | Uint8Array): Promise<void> {
    const entry = this.tar.entry({ name, size, mode: 0o644, mtime: new Date(), type: 'file' })
    const done = new Promise<void>((resolve, reject) => {
      entry.on('error', reject)
      entry.on('close', () => resolve())
    })
    done.catch(() => undefined)
    let written = 0
    for await (const part of content instanceof Uint8Array ? [content] : content) {
      written += part.length
      const reason = this.failed()
      if (reason !== undefined) throw reason
      if (written > size) throw new Error(`the file '${name}' grew while it was packed`)
      if (part.length > 0 && !entry.write(part)) await Promise.race([once(entry, 'drain'), once(entry, 'close')])
    }
    if (written !== size) throw new Error(`the file '${name}' shrank while it was packed`)
    entry.end(null)
    await done
  }
}

/**
 * @param fill adds the members
 * @throws ServiceError disk-full, library-read-only; AbortError; in each case the target is as it was
 */
export async function writeTar(target: string, signal: AbortSignal, fill: (tar: TarWriter) => Promise<void>): Promise<void> {
  const temporary = temporaryName(target)
  const tar = pack()
  const file = createWriteStream(temporary, { flags: 'wx', mode: 0o600, highWaterMark: 1 << 20 })
  let failure: unknown
  const fail = (reason: unknown): void => {
    failure ??= reason
    tar.destroy()
    file.destroy()
  }
  const onAbort = (): void => fail(signal.reason)
  file.on('error', fail)
  signal.addEventListener('abort', onAbort)
  const written = finished(file)
  written.catch(() => undefined)
  try {
    signal.throwIfAborted()
    tar.pipe(file)
    await fill(new TarWriter(tar, () => failure))
    tar.finalize()
    await written
    const handle = await open(temporary, 'r+')
    await handle.sync().finally(() => handle.close())
    await rename(temporary, target)
    await syncFolder(dirname(target))
  } catch (error) {
    fail(error)
    await written.catch(() => undefined)
    await rm(temporary, { force: true }).catch(() => undefined)
    throw failure instanceof Error && failure.name === 'AbortError' ? failure : writeError(failure ?? error, target)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

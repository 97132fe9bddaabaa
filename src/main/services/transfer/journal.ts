/** Exports and new disks under way, written down: what a killed one leaves beside its target, outside the library, is removed at the next start. */
import { randomUUID } from 'node:crypto'
import { readdir, readFile, realpath, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { removeAllLeftovers } from '../../host/disks/beside'
import { makeFolder, writeAtomic } from '../files'

const entry = z.object({ target: z.string().min(1) })

export class ExportJournal {
  private readonly folder: string

  /** @param home the library's folder */
  constructor(home: string) {
    this.folder = join(home, 'exports')
  }

  /** @throws ServiceError disk-full, library-read-only */
  async during<T>(target: string, work: () => Promise<T>): Promise<T> {
    await makeFolder(this.folder)
    const path = join(this.folder, `${randomUUID()}.json`)
    await writeAtomic(path, `${JSON.stringify({ target })}\n`)
    try {
      return await work()
    } finally {
      // One too many does no harm: there is nothing left to remove.
      await rm(path, { force: true }).catch(() => undefined)
    }
  }

  /** As `during`, of a disk image. It is made also where nothing can be noted: room may be what it is to give. */
  async duringDisk<T>(target: string, work: () => Promise<T>): Promise<T> {
    let done: Promise<T> | undefined
    const begin = (): Promise<T> => (done ??= work())
    return this.during(target, begin).catch((error: unknown) => {
      if (done) throw error
      return begin()
    })
  }

  /** To be called while nothing is exported and no disk is made. */
  async recover(): Promise<void> {
    for (const name of await readdir(this.folder).catch(() => [])) {
      const path = join(this.folder, name)
      try {
        const { target } = entry.parse(JSON.parse(await readFile(path, 'utf8')))
        await removeTemporaries(target)
        // Where it is a link, the file it leads to is replaced.
        await removeAllLeftovers(await realpath(target).catch(() => target))
      } catch {
        // The target's folder is gone, or the note is no use.
      }
      await rm(path, { force: true }).catch(() => undefined)
    }
  }
}

/** Whatever `temporaryName` may have called what was to become the target. */
async function removeTemporaries(target: string): Promise<void> {
  const prefix = `${basename(target)}.tmp-`
  for (const name of await readdir(dirname(target))) {
    if (name.startsWith(prefix) && /^[0-9a-f]{12}$/.test(name.slice(prefix.length))) await rm(join(dirname(target), name), { recursive: true, force: true })
  }
}

/** A file that is written beside the one it becomes, and what killed processes have left of such files. */
import { open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** What it is written for: it stands at the end of its name. */
type Purpose = 'compacting' | 'writing'

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

async function removeLeftovers(path: string, purpose: Purpose): Promise<void> {
  const start = `${basename(path)}.`
  for (const name of await readdir(dirname(path))) {
    const [pid, suffix, ...more] = name.startsWith(start) ? name.slice(start.length).split('.') : []
    if (suffix !== purpose || more.length > 0 || !/^\d+$/.test(pid) || isAlive(Number(pid))) continue
    await rm(join(dirname(path), name), { force: true })
  }
}

/** Renaming is durable once the folder is. Windows cannot open folders, and needs no such thing. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => undefined)
  await folder?.close()
}

/**
 * The file of that path is the old one, or none, until `write` has put the whole new one onto stable storage.
 * @param write makes the file it is given the name of, which is not there yet
 * @throws what `write` throws, system errors: the path is then as it was
 */
export async function writeBeside(path: string, purpose: Purpose, write: (part: string) => Promise<void>): Promise<void> {
  await removeLeftovers(path, purpose)
  const part = `${path}.${process.pid}.${purpose}`
  try {
    await write(part)
    await rename(part, path)
  } catch (error) {
    // Another writer of this process owns the file where it was there already.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(part, { force: true }).catch(() => undefined)
    throw error
  }
  await syncFolder(dirname(path))
}

/** A file that is written beside the one it becomes, and what killed processes have left of such files. */
import { link, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

export interface Beside {
  /** What it is written for: it stands at the end of its name. */
  readonly purpose: 'compacting' | 'writing'
  /** Put it in the place of a file that is there. */
  readonly replace: boolean
}

/** Files of one process beside the same one. */
let written = 0

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Of whatever was written for the path by processes that are gone. @throws system errors where its folder is not there */
export async function removeAllLeftovers(path: string): Promise<void> {
  for (const purpose of ['compacting', 'writing'] as const) await removeLeftovers(path, purpose)
}

async function removeLeftovers(path: string, purpose: Beside['purpose']): Promise<void> {
  const start = `${basename(path)}.`
  for (const name of await readdir(dirname(path))) {
    const [, pid] = (name.startsWith(start) && /^(\d+)-\d+\.(\w+)$/.exec(name.slice(start.length))) || []
    if (pid === undefined || !name.endsWith(`.${purpose}`) || isAlive(Number(pid))) continue
    await rm(join(dirname(path), name), { force: true })
  }
}

/** Renaming is durable once the folder is. Windows cannot open folders, and needs no such thing. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => undefined)
  await folder?.close()
}

async function requireFree(path: string): Promise<void> {
  if (await stat(path).catch(() => undefined)) throw Object.assign(new Error(`${path} is there already`), { code: 'EEXIST' })
}

/** Under the name at last, without taking it from a file that came meanwhile. */
async function place(part: string, path: string): Promise<void> {
  try {
    await link(part, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    // File systems without hard links.
    await requireFree(path)
    return rename(part, path)
  }
  await rm(part)
}

/**
 * The file of that path is the old one, or none, until `write` has put the whole new one onto stable storage.
 * @param write makes the file it is given the name of, which is not there yet
 * @throws what `write` throws, EEXIST where the file is there and not to be replaced, system errors: the path is then as it was
 */
export async function writeBeside(path: string, { purpose, replace }: Beside, write: (part: string) => Promise<void>): Promise<void> {
  if (!replace) await requireFree(path)
  await removeLeftovers(path, purpose)
  const part = `${path}.${process.pid}-${++written}.${purpose}`
  try {
    await write(part)
    await (replace ? rename(part, path) : place(part, path))
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined)
    throw error
  }
  await syncFolder(dirname(path))
}

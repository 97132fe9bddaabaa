/** Writing so that a crash leaves either the old file or the new one, never half of one. */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemCode, writeError } from '../errors'

const TEMPORARY = /\.tmp-[0-9a-f]{12}$/

/** Makes the folder's entries (a new file, a rename) durable. Windows has no such call and needs none. */
export async function syncFolder(dir: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Temporary file, fsync, rename, fsync of the folder. @throws ServiceError disk-full, library-read-only */
export async function writeAtomic(path: string, data: string | Uint8Array): Promise<void> {
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`
  try {
    const handle = await open(temporary, 'wx', 0o600)
    try {
      await handle.writeFile(data)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw writeError(error, path)
  }
}

/** Removes what an interrupted {@link writeAtomic} left in the folder. */
export async function removeTemporaries(dir: string): Promise<void> {
  for (const name of await readdir(dir)) if (TEMPORARY.test(name)) await rm(join(dir, name), { force: true })
}

/** Moves a folder or file and makes the move durable. @throws ServiceError */
export async function moveDurably(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
    await syncFolder(dirname(to))
    if (dirname(from) !== dirname(to)) await syncFolder(dirname(from))
  } catch (error) {
    throw writeError(error, to)
  }
}

/** Makes the folder and those above it where they are missing. @throws ServiceError */
export async function makeFolder(dir: string, mode = 0o700): Promise<void> {
  try {
    await makeWithParents(dir, mode)
  } catch (error) {
    throw writeError(error, dir)
  }
}

/** Rejects with Node's system error: its own recursion says of a read-only file system that something does not exist. */
async function makeWithParents(dir: string, mode: number): Promise<void> {
  try {
    await mkdir(dir, { mode })
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' && dirname(dir) !== dir) await makeWithParents(dirname(dir), mode)
    else if (code !== 'EEXIST') throw error
    // It is there, or its parent is now; a file in its place is told.
    await mkdir(dir, { recursive: true, mode })
  }
}

/** Bytes of all files below, each once whatever names it has; symbolic links are not followed, files that vanish meanwhile count as nothing. */
export async function folderSize(dir: string, seen = new Set<string>()): Promise<number> {
  let total = 0
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) {
      total += await folderSize(path, seen)
      continue
    }
    const stat = await lstat(path).catch(() => undefined)
    if (!stat || seen.has(`${stat.dev} ${stat.ino}`)) continue
    seen.add(`${stat.dev} ${stat.ino}`)
    total += stat.size
  }
  return total
}

/** A moment as part of a file name. */
export const stamp = (date: Date): string => date.toISOString().replaceAll(':', '-')


/**
 * One writer for each disk image: a file beside the image names the process that has it open for writing. A process that was
 * killed leaves its file behind; it counts for nothing once that process is gone, so that the machine can start again at once.
 * (proper-lockfile, which the library uses, would take seconds to see that.)
 */
import { randomBytes } from 'node:crypto'
import { readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { VmmError } from '../../vmm/errors'

interface Holder {
  readonly pid: number
  /** When the process began, by the system's count: process numbers are used again. Undefined where it cannot be told. */
  readonly began: string | undefined
  readonly host: string
  /** Tells apart what one process holds. */
  readonly token: string
}

export interface DiskLock { release(): Promise<void> }

const ATTEMPTS = 5
/** A file without contents this old is that of a process killed while it wrote it. */
const HALF_WRITTEN_MS = 2000

/** Time since boot at which a process began (Linux). */
async function beginOf(pid: number): Promise<string | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/stat`, 'latin1')
    return status.slice(status.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

async function lives({ pid, began, host }: Holder): Promise<boolean> {
  // A computer that shares the folder: nothing can be known of its processes.
  if (host !== hostname()) return true
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = await beginOf(pid)
  return began === undefined || now === undefined || began === now
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code

async function readHolder(path: string): Promise<Holder | 'gone' | 'empty'> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Holder
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? 'gone' : 'empty'
  }
}

/** Takes away a lock whose holder is dead; another process may do the same at the same time. */
async function removeStale(path: string, seen: string | undefined): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await rename(path, aside)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  const moved = await readHolder(aside)
  // Somebody was quicker and holds it now: it goes back.
  if (typeof moved === 'object' && moved.token !== seen) await rename(aside, path)
  else await rm(aside, { force: true })
}

function busy(disk: string, { pid, host }: Holder): VmmError {
  const where = host === hostname() ? '' : ` on ${host}`
  const who = pid === process.pid && where === '' ? 'this machine has it already' : `process ${pid}${where} has it open for writing`
  return new VmmError('disk-io', `${disk} is in use: ${who}`, { path: disk, pid, host })
}

/**
 * @param disk the image; several names of one file are one disk
 * @returns undefined where the folder cannot be written: then there is no lock to be had
 * @throws VmmError `disk-io` where another process, or this one, has it open for writing
 */
export async function lockDisk(disk: string): Promise<DiskLock | undefined> {
  const real = await realpath(disk).catch(() => disk)
  const path = join(dirname(real), `.${basename(real)}.lock`)
  const mine: Holder = { pid: process.pid, began: await beginOf(process.pid), host: hostname(), token: randomBytes(12).toString('hex') }
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      await writeFile(path, JSON.stringify(mine), { flag: 'wx', mode: 0o600 })
      return { release: () => release(path, mine.token) }
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') return undefined
    }
    const holder = await readHolder(path)
    if (holder === 'gone') continue
    if (holder === 'empty') await waitForContents(path)
    else if (await lives(holder)) throw busy(disk, holder)
    else await removeStale(path, holder.token)
  }
  throw new VmmError('disk-io', `${disk}: other processes are opening it at the same time`, { path: disk })
}

async function waitForContents(path: string): Promise<void> {
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
  if (Date.now() - mtimeMs > HALF_WRITTEN_MS) await removeStale(path, undefined)
  else await new Promise((resolve) => setTimeout(resolve, 100))
}

async function release(path: string, token: string): Promise<void> {
  const holder = await readHolder(path)
  if (typeof holder === 'object' && holder.token === token) await rm(path, { force: true })
}

/** Does work that changes a disk while nobody else may. @throws as `lockDisk` */
export async function withDiskLock<T>(disk: string, work: () => Promise<T>): Promise<T> {
  const lock = await lockDisk(disk)
  try {
    return await work()
  } finally {
    await lock?.release()
  }
}

/**
 * One writer for each disk image: a file beside the image names the process that has it open for writing. A process that was
 * killed leaves its file behind; it counts for nothing once that process is gone, so that the machine can start again at once.
 * (proper-lockfile, which the library uses, would take seconds to see that.)
 */
import { randomBytes } from 'node:crypto'
import { readFile, realpath, rm, stat, utimes, writeFile } from 'node:fs/promises'
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
  /** Time of the image's last change, in nanoseconds since 1970, where only what is said of its data is written: it keeps this time. */
  readonly keepsNs?: string | undefined
}

export interface DiskLock { release(): Promise<void> }

const ATTEMPTS = 200
const PAUSE_MS = 20
/** So long nobody takes to look at a lock and remove it. */
const ABANDONED_MS = 3000
/** From the lock until such a write: what is written to the image later is by somebody else. */
const KEEPING_NS = 60_000_000_000n
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

/**
 * Takes away a lock that counts for nothing. Only one process at a time may do that, and it looks once more before: else it would
 * take the lock of one that was quicker. Only a process killed in between leaves `.stale` behind, which then counts for a while.
 */
async function removeStale(disk: string, path: string): Promise<void> {
  const claim = `${path}.stale`
  try {
    await writeFile(claim, '', { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    if ((await ageOf(claim)) > ABANDONED_MS) await rm(claim, { force: true })
    return pause()
  }
  try {
    const holder = await readHolder(path)
    if (holder !== 'gone' && (holder === 'empty' ? (await ageOf(path)) > HALF_WRITTEN_MS : !(await lives(holder)))) {
      await giveTimeBack(disk)
      await rm(path, { force: true })
    }
  } finally {
    await rm(claim, { force: true })
  }
}

const lockOf = (real: string): string => join(dirname(real), `.${basename(real)}.lock`)

/**
 * The time of an image's last change, where a process writes what is said of its data, or was killed while it did.
 * @param modifiedNs the time its file has, in nanoseconds since 1970
 * @returns undefined where that is the one
 */
export async function keptTime(disk: string, modifiedNs: bigint): Promise<bigint | undefined> {
  const path = lockOf(await realpath(disk).catch(() => disk))
  const holder = await readHolder(path)
  if (typeof holder !== 'object' || holder.keepsNs === undefined) return undefined
  const began = await stat(path, { bigint: true }).catch(() => undefined)
  const isOfHolder = began !== undefined && modifiedNs >= began.mtimeNs && modifiedNs - began.mtimeNs < KEEPING_NS
  return isOfHolder ? BigInt(holder.keepsNs) : undefined
}

/** In whole seconds: where these are the same, so is the time. */
export async function setKeptTime(disk: string, keptNs: bigint): Promise<void> {
  await utimes(disk, (await stat(disk)).atime, Number(keptNs / 1_000_000_000n))
}

/** What a process that was killed did not come to. */
async function giveTimeBack(disk: string): Promise<void> {
  const found = await stat(disk, { bigint: true }).catch(() => undefined)
  const kept = found && await keptTime(disk, found.mtimeNs)
  if (kept !== undefined) await setKeptTime(disk, kept)
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE_MS))

/** Milliseconds since a file was written; 0 where it is gone. */
async function ageOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => undefined)
  return found ? Date.now() - found.mtimeMs : 0
}

function busy(disk: string, { pid, host }: Holder): VmmError {
  const isHere = host === hostname()
  if (isHere && pid === process.pid) return new VmmError('disk-io', `${disk} is in use: this machine has it already`, { reason: 'diskHeldHere', path: disk, pid, host })
  const reason = isHere ? 'diskHeldBy' : 'diskHeldOn'
  return new VmmError('disk-io', `${disk} is in use: process ${pid}${isHere ? '' : ` on ${host}`} has it open for writing`, { reason, path: disk, pid, host })
}

/**
 * @param disk the image; several names of one file are one disk
 * @param keepsNs see `keptTime`
 * @returns undefined where the folder cannot be written: then there is no lock to be had
 * @throws VmmError `disk-io` where another process, or this one, has it open for writing
 */
export async function lockDisk(disk: string, keepsNs?: bigint): Promise<DiskLock | undefined> {
  const real = await realpath(disk).catch(() => disk)
  const path = lockOf(real)
  const mine: Holder = {
    pid: process.pid, began: await beginOf(process.pid), host: hostname(), token: randomBytes(12).toString('hex'), ...(keepsNs !== undefined && { keepsNs: String(keepsNs) }),
  }
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      await writeFile(path, JSON.stringify(mine), { flag: 'wx', mode: 0o600 })
      return { release: () => release(path, mine.token) }
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') return undefined
    }
    const holder = await readHolder(path)
    if (holder === 'gone') continue
    if (holder === 'empty' ? (await ageOf(path)) > HALF_WRITTEN_MS : !(await lives(holder))) await removeStale(real, path)
    else if (holder === 'empty') await pause()
    else throw busy(disk, holder)
  }
  throw new VmmError('disk-io', `${disk}: other processes are opening it at the same time`, { path: disk })
}

async function release(path: string, token: string): Promise<void> {
  const holder = await readHolder(path)
  if (typeof holder === 'object' && holder.token === token) await rm(path, { force: true })
}

/** Does work that changes a disk while nobody else may. @param keepsNs see `keptTime` @throws as `lockDisk` */
export async function withDiskLock<T>(disk: string, work: () => Promise<T>, keepsNs?: bigint): Promise<T> {
  const lock = await lockDisk(disk, keepsNs)
  try {
    return await work()
  } finally {
    await lock?.release()
  }
}

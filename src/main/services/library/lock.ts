/** One manager at a time holds a library; whoever comes second learns where to reach the first. */
import { readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { lock } from 'proper-lockfile'
import { z } from 'zod'
import { phrase } from '../../../preload/contract'
import { outliveFileLimits } from '../../host/file-limit'
import { ServiceError, systemCode, writeError, whyOf } from '../errors'
import { makeFolder, writeAtomic } from '../files'

/** The holder touches its lock every second; one not touched for this long belongs to a dead process. */
const STALE_MS = 5000
const UPDATE_MS = 1000
const RETRY_MS = 250

const holderFile = z.object({
  pid: z.number().int(),
  host: z.string(),
  version: z.string(),
  /** Where it listens, empty while it does not. */
  socket: z.string(),
})
export type LockHolder = z.infer<typeof holderFile>

const holderPath = (home: string): string => join(home, 'manager.json')

/** Who holds the library, or held it last. */
export async function readHolder(home: string): Promise<LockHolder | undefined> {
  try {
    return holderFile.parse(JSON.parse(await readFile(holderPath(home), 'utf8')))
  } catch {
    return undefined
  }
}

/** False only where it is certain that the process is gone: one on another computer cannot be seen. */
function mayLive(holder: LockHolder | undefined): boolean {
  if (!holder || holder.host !== hostname()) return true
  try {
    process.kill(holder.pid, 0)
    return true
  } catch (error) {
    return systemCode(error) !== 'ESRCH'
  }
}

export class LibraryLock {
  private constructor(private readonly home: string, private readonly unlock: () => Promise<void>, private readonly version: string) {}

  /**
   * @param onLost called where another process took the lock over, such as after this one was frozen for long: it must stop writing
   * @throws ServiceError library-locked with the holder as details, library-read-only, disk-full
   */
  static async acquire(home: string, version: string, onLost: (reason: string) => void): Promise<LibraryLock> {
    outliveFileLimits()
    await makeFolder(home)
    const deadline = Date.now() + STALE_MS + 2 * UPDATE_MS
    for (;;) {
      try {
        const unlock = await lock(home, {
          lockfilePath: join(home, 'manager.lock'), realpath: false, stale: STALE_MS, update: UPDATE_MS, onCompromised: (error) => onLost(error.message),
        })
        const held = new LibraryLock(home, unlock, version)
        await held.announce('').catch(async (error: unknown) => {
          await unlock().catch(() => undefined)
          throw error
        })
        return held
      } catch (error) {
        if (systemCode(error) !== 'ELOCKED') throw writeError(error, join(home, 'manager.lock'))
      }
      const holder = await readHolder(home)
      // A holder that was killed leaves its lock behind; it counts as free once it is old enough.
      if (mayLive(holder) || Date.now() > deadline) throw lockedError(home, holder)
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  /** Tells where the holder listens. */
  async announce(socket: string): Promise<void> {
    const holder: LockHolder = { pid: process.pid, host: hostname(), version: this.version, socket }
    await writeAtomic(holderPath(this.home), `${JSON.stringify(holder)}\n`)
  }

  async release(): Promise<void> {
    await rm(holderPath(this.home), { force: true }).catch(() => undefined)
    await this.unlock().catch((error: unknown) => {
      if (systemCode(error) !== 'ENOTACQUIRED') throw new ServiceError('internal', phrase('library.notReleased', { cause: whyOf(error) }))
    })
  }
}

function lockedError(home: string, holder: LockHolder | undefined): ServiceError {
  if (!holder) return new ServiceError('library-locked', phrase('library.held', { home }), {})
  const { pid, host } = holder
  return new ServiceError('library-locked', host === hostname() ? phrase('library.heldBy', { home, pid }) : phrase('library.heldOn', { home, pid, host }), holder)
}

/** Where the manager of a library listens. */
import { createHash } from 'node:crypto'
import { chmod, lstat, mkdir } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { phrase } from '../../preload/contract'
import { ServiceError } from '../services/errors'

/** `sun_path` holds 104 bytes on macOS, 108 on Linux, each with a NUL; longer paths are cut without a word. */
const MAX_PATH_BYTES = 103

const keyOf = (home: string): string => createHash('sha256').update(resolve(home)).digest('hex').slice(0, 16)

/**
 * In the library where the path is short enough, else in a private folder of the system's temporary one.
 * On Windows a named pipe.
 */
export function socketPath(home: string, platform: NodeJS.Platform = process.platform, temporary = tmpdir()): string {
  if (platform === 'win32') return `\\\\.\\pipe\\nestbox-${keyOf(home)}`
  const inLibrary = join(resolve(home), 'manager.sock')
  if (Buffer.byteLength(inLibrary) <= MAX_PATH_BYTES) return inLibrary
  const short = join(`nestbox-${userInfo().uid}`, `${keyOf(home)}.sock`)
  const inTemporary = join(temporary, short)
  return Buffer.byteLength(inTemporary) <= MAX_PATH_BYTES ? inTemporary : join('/tmp', short)
}

/** Makes the socket's folder, for this user alone. @throws ServiceError where the folder belongs to someone else */
export async function prepareSocketFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const dir = dirname(path)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const stat = await lstat(dir)
  if (!stat.isDirectory() || stat.uid !== userInfo().uid) {
    throw new ServiceError('unauthorized', phrase('call.foreignFolder', { path: dir }), { path: dir })
  }
  // Only our own folder in the shared one; the library's permissions are the user's choice.
  if (/[\\/]nestbox-\d+$/.test(dir)) await chmod(dir, 0o700)
}

/** Makes the file of a disk as small as it can be. The old file stays until the new one is whole and on stable storage. */
import { chmod, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { VmmError } from '../../vmm/errors'
import type { WriteOptions } from './formats/common/write'
import { writeRaw } from './formats/common/write-raw'
import { withDiskLock } from './lock'
import { changeSince, identityOf } from './qcow2/identity'
import { compactQcow2 } from './qcow2/compact'
import { openRawSource } from './raw-source'

export interface Compacted {
  /** Bytes the file takes on the host, before and after. */
  readonly before: number
  readonly after: number
}

const SUFFIX = 'compacting'

const allocated = async (path: string): Promise<number> => (await stat(path)).blocks * 512

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** What processes that were killed have left beside the disk. */
async function removeLeftovers(path: string): Promise<void> {
  const start = `${basename(path)}.`
  for (const name of await readdir(dirname(path))) {
    const [pid, suffix, ...more] = name.startsWith(start) ? name.slice(start.length).split('.') : []
    if (suffix !== SUFFIX || more.length > 0 || !/^\d+$/.test(pid) || isAlive(Number(pid))) continue
    await rm(join(dirname(path), name), { force: true })
  }
}

async function compactRaw(path: string, target: string, options: WriteOptions): Promise<void> {
  const source = await openRawSource(path)
  try {
    await writeRaw(source, target, options)
  } finally {
    await source.close()
  }
}

/** Renaming is durable once the folder is. Windows cannot open folders, and needs no such thing. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => undefined)
  await folder?.close()
}

/**
 * Images laid over it have to be told (`rebaseQcow2`), for its file is another one then.
 * @throws VmmError `unsupported` for other formats and for internal snapshots, `disk-io` where the disk was changed meanwhile;
 *   AbortError, system errors: the disk is then as it was
 */
export async function compactDisk(disk: string, format: string, options: WriteOptions = {}): Promise<Compacted> {
  if (format !== 'raw' && format !== 'qcow2') throw new VmmError('unsupported', `${disk}: ${format} images cannot be compacted; convert it to qcow2 or raw`, { path: disk })
  // The file is replaced, not a link to it.
  const path = await realpath(disk)
  return withDiskLock(path, () => compactLocked(path, format, options))
}

async function compactLocked(path: string, format: 'raw' | 'qcow2', options: WriteOptions): Promise<Compacted> {
  await removeLeftovers(path)
  const before = await allocated(path)
  const was = await identityOf(path)
  const target = `${path}.${process.pid}.${SUFFIX}`
  try {
    await (format === 'raw' ? compactRaw : compactQcow2)(path, target, options)
    await chmod(target, (await stat(path)).mode & 0o7777)
    const change = changeSince(was, await identityOf(path))
    if (change !== undefined) throw new VmmError('disk-io', `${path} was written to while it was compacted (${change}): it is left as it is`, { path })
    options.signal?.throwIfAborted()
    await rename(target, path)
  } catch (error) {
    // Another compaction of this process owns the file where it was there already.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(target, { force: true })
    throw error
  }
  await syncFolder(dirname(path))
  return { before, after: await allocated(path) }
}

/** Makes the file of a disk as small as it can be. The old file stays until the new one is whole and on stable storage. */
import { chmod, realpath, stat } from 'node:fs/promises'
import { VmmError } from '../../vmm/errors'
import { writeBeside } from './beside'
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

const allocated = async (path: string): Promise<number> => (await stat(path)).blocks * 512

async function compactRaw(path: string, target: string, options: WriteOptions): Promise<void> {
  const source = await openRawSource(path)
  try {
    await writeRaw(source, target, options)
  } finally {
    await source.close()
  }
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
  const before = await allocated(path)
  const was = await identityOf(path)
  await writeBeside(path, { purpose: 'compacting', replace: true }, async (target) => {
    await (format === 'raw' ? compactRaw : compactQcow2)(path, target, options)
    await chmod(target, (await stat(path)).mode & 0o7777)
    const change = changeSince(was, await identityOf(path))
    if (change !== undefined) throw new VmmError('disk-io', `${path} was written to while it was compacted (${change}): it is left as it is`, { path })
    options.signal?.throwIfAborted()
  })
  return { before, after: await allocated(path) }
}

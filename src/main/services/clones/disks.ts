/** Disks of machines made from others: copied, copied with what they are laid over, or laid over the others. */
import { open, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { copyImage } from '../../host/copy-file'
import { openDisk } from '../../host/disks/open'
import { createQcow2, writeQcow2 } from '../../host/disks/qcow2/create'
import { phrase, type DiskSettings } from '../../../preload/contract'
import { archiveError } from '../archive/errors'
import { hostSaid } from '../core-said'
import { requireOpenable } from '../disks/openable'
import { ServiceError, systemCode, writeError } from '../errors'
import type { MachineBase, Progress } from '../types'

export interface DiskCopy {
  readonly from: string
  readonly to: string
  readonly format: DiskSettings['format']
}

const QCOW2_MAGIC = 0x514649fb

/** Whether the image holds only what differs from another one. Rejects with Node's system error. */
export async function hasBacking({ path, format }: Pick<DiskSettings, 'path' | 'format'>): Promise<boolean> {
  if (format !== 'qcow2') return false
  const start = Buffer.alloc(16)
  const file = await open(path, 'r')
  await file.read(start, 0, 16, 0).finally(() => file.close())
  return start.readUInt32BE(0) === QCOW2_MAGIC && start.readBigUInt64BE(8) !== 0n
}

/** @throws ServiceError bad-disk, file-missing, disk-full, library-read-only; AbortError */
function diskError(error: unknown, { from, to }: DiskCopy, { signal }: Progress): unknown {
  signal.throwIfAborted()
  if (['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) return writeError(error, to)
  if (error instanceof Error && 'code' in error && systemCode(error)?.startsWith('E') !== true) return new ServiceError('bad-disk', hostSaid(error), { path: from })
  const known = archiveError(error, from)
  return known instanceof ServiceError && known.code !== 'bad-archive' ? known : writeError(error, to)
}

/** A disk that stands alone, whatever it was laid over. @throws ServiceError bad-disk, disk-full, library-read-only; AbortError */
export async function copyDisk(copy: DiskCopy, progress: Progress, onProgress: (part: number) => void): Promise<void> {
  const { from, to, format } = copy
  const { signal } = progress
  await requireOpenable(from, format)
  try {
    if (!(await hasBacking({ path: from, format }))) return await copyImage(from, to, { signal, onProgress: (done, total) => onProgress(done / Math.max(1, total)) })
    const source = await openDisk(from, true, format)
    try {
      await writeQcow2(source, to, { signal, onProgress: (done, total) => onProgress(done / total) })
    } finally {
      await source.close()
    }
  } catch (error) {
    throw diskError(error, copy, progress)
  }
}

/** A new disk that reads as `from` until it is written to. @throws as `copyDisk` */
export async function layOver(copy: DiskCopy, progress: Progress): Promise<void> {
  const { from, to, format } = copy
  try {
    const parent = await openDisk(from, true, format)
    const { sizeBytes } = parent
    await parent.close()
    await createQcow2(to, { sizeBytes, backing: { path: from, format } })
  } catch (error) {
    throw diskError(error, copy, progress)
  }
}

export async function baseFiles(paths: readonly string[]): Promise<MachineBase['files']> {
  return Promise.all(paths.map(async (path) => {
    const { size, mtimeMs } = await stat(path)
    return { path, size, mtimeMs }
  }))
}

/** Nothing else would notice: the guest would see a mixture of two disks. @throws ServiceError file-missing, bad-disk */
export async function requireBaseUnchanged(name: string, { files }: MachineBase): Promise<void> {
  for (const { path, size, mtimeMs } of files) {
    const now = await stat(path).catch(() => {
      throw new ServiceError('file-missing', phrase('clone.baseMissing', { path, name }), { path })
    })
    if (now.size === size && now.mtimeMs === mtimeMs) continue
    throw new ServiceError('bad-disk', phrase('clone.baseChanged', { path, file: basename(path), name }), { path })
  }
}

/** The disk on which a machine from the starter image keeps its files: sparse, with an empty file system where the host can make one. */
import { open, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LIMITS, type MachineSettings } from '../../../preload/contract'
import { openDisk } from '../../host/disks/open'
import { createQcow2, writeQcow2 } from '../../host/disks/qcow2/create'
import { writeError } from '../errors'
import { makeFolder } from '../files'
import type { NewFolder } from '../library'
import { execute, findProgram } from '../programs'
import { DATA_LABEL } from '../starter/recipe'

export const DATA_DISK_BYTES = 8 * 2 ** 30
/** It takes a fraction of a second: nobody cancels it. */
const NEVER = new AbortController().signal

/** An ext4 file system as `mke2fs` makes it. The file was empty: its inode tables and journal are zero already. */
async function format(mke2fs: string, raw: string): Promise<void> {
  const file = await open(raw, 'wx', 0o600)
  await file.truncate(DATA_DISK_BYTES).finally(() => file.close())
  await execute(mke2fs, ['-q', '-F', '-t', 'ext4', '-L', DATA_LABEL, '-E', 'lazy_itable_init=0,lazy_journal_init=1', raw], { signal: NEVER })
}

/** @param mke2fs undefined where the host has none: the guest then makes the file system at its first boot */
async function write(path: string, mke2fs: string | undefined): Promise<void> {
  if (mke2fs === undefined) return createQcow2(path, { sizeBytes: DATA_DISK_BYTES })
  const raw = `${path}.raw`
  try {
    await format(mke2fs, raw)
    const source = await openDisk(raw, true, 'raw')
    await writeQcow2(source, path, { signal: NEVER, onProgress: () => undefined }).finally(() => source.close())
  } finally {
    await rm(raw, { force: true })
  }
}

/**
 * Adds the disk to a new machine, and tells the guest on the kernel's command line which one it may format while it is blank.
 * A machine that has as many disks as it can have stays as it is.
 * @throws ServiceError disk-full, library-read-only
 */
export async function addDataDisk<S extends Partial<MachineSettings>>(settings: S, folder: NewFolder, find = findProgram): Promise<S> {
  const disks = settings.disks ?? []
  if (disks.length >= LIMITS.disks) return settings
  const path = join(folder.dir, 'disks', 'data.qcow2')
  try {
    await makeFolder(dirname(path))
    await write(path, await find('mke2fs'))
  } catch (error) {
    throw writeError(error, path)
  }
  const device = `/dev/vd${String.fromCharCode('a'.charCodeAt(0) + disks.length)}`
  return {
    ...settings, commandLine: `${settings.commandLine ?? ''} nestbox.data=${device}`.trim(),
    disks: [...disks, { path: join(folder.finalDir, 'disks', 'data.qcow2'), format: 'qcow2', readOnly: false }],
  }
}

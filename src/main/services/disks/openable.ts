/** Whether a machine could open an image: before it is copied for one. */
import { existsSync } from 'node:fs'
import { phrase, type DiskSettings } from '../../../preload/contract'
import { openDisk } from '../../host/disks/open'
import { hostSaid } from '../core-said'
import { ServiceError } from '../errors'

/**
 * Its structures, and what it is laid over; not the data in it. Of a raw image nothing can be wrong.
 * @throws ServiceError bad-disk with what is wrong and where, file-missing
 */
export async function requireOpenable(path: string, format: DiskSettings['format'] | undefined): Promise<void> {
  if (!existsSync(path)) throw new ServiceError('file-missing', phrase('file.missing', { path }), { path })
  const disk = await openDisk(path, true, format).catch((error: unknown) => {
    throw new ServiceError('bad-disk', hostSaid(error), { path })
  })
  await disk.close()
}

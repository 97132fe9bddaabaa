/** Work on images: the progress of a task for it, its errors as the contract knows them. */
import { phrase, type Disk, type DiskCheck, type DiskLayer } from '../../../preload/contract'
import type { WriteOptions } from '../../host/disks/formats/common/write'
import { checkQcow2 } from '../../host/disks/qcow2/check'
import { hostSaid } from '../core-said'
import { ServiceError, systemCode, writeError } from '../errors'
import type { Progress } from '../types'

export const optionsOf = (progress: Progress): WriteOptions => ({ signal: progress.signal, onProgress: (done, total) => progress.report(done / total) })

/** The image itself, without what it lies over. @throws ServiceError bad-disk where it is not what it is known to be, or cannot be read */
export function readableTop({ path, layers: [top] }: Disk): DiskLayer & Required<Pick<DiskLayer, 'format' | 'sizeBytes'>> {
  const { format, sizeBytes } = top
  if (!format || sizeBytes === undefined) throw new ServiceError('bad-disk', top.problem ?? phrase('file.unreadable', { path }), { path })
  return { ...top, format, sizeBytes }
}

/** Errors of the host's disk code have a code of the core's and, where the system refused something, its error as the cause. */
export function diskError(error: unknown, path: string): Error {
  if (error instanceof ServiceError || (error instanceof Error && error.name === 'AbortError')) return error
  if (error instanceof RangeError) return new ServiceError('invalid-argument', error.message)
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  switch (systemCode(error)) {
    case 'unsupported': return new ServiceError('unsupported', hostSaid(error), { path })
    // Another process has it, or has written to it meanwhile.
    case 'disk-io': return cause === error ? new ServiceError('machine-busy', hostSaid(error), { path }) : writeError(cause, path)
    case 'disk-full': return writeError(cause, path)
    case undefined: case 'bad-disk': return new ServiceError('bad-disk', hostSaid(error), { path })
    default: return writeError(error, path)
  }
}

/** @throws DiskFormatError, AbortError, system errors */
export async function soundness(path: string, progress: Progress): Promise<DiskCheck> {
  const { corruptions, leaks, clusterBytes, problems } = await checkQcow2(path, optionsOf(progress))
  return { corruptions, wastedBytes: leaks * clusterBytes, problems: [...problems] }
}

/** New disk images in any format, empty or with what another one holds. They appear under their names when they are whole. */
import { randomBytes } from 'node:crypto'
import { link, rename, rm, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { writeRaw } from './formats/common/write-raw'
import type { DiskSource, WriteOptions } from './formats/common/write'
import { writeForeignImage } from './formats/foreign'
import { openDisk, type DiskFormat } from './open'
import { createQcow2, writeQcow2, type CreateOptions } from './qcow2/create'

export interface NewImage extends WriteOptions {
  readonly format: DiskFormat
  /** log2 of the cluster size, of qcow2. */
  readonly clusterBits?: number
  /** Replace a file that is there. */
  readonly overwrite?: boolean
}

function write(source: DiskSource, temporary: string, path: string, options: NewImage): Promise<void> {
  if (options.format === 'raw') return writeRaw(source, temporary, options)
  if (options.format === 'qcow2') return writeQcow2(source, temporary, options)
  return writeForeignImage(source, temporary, options.format, options, basename(path))
}

/** Under the name at last, without taking it from a file that came meanwhile. */
async function place(temporary: string, path: string, overwrite: boolean): Promise<void> {
  if (overwrite) return rename(temporary, path)
  try {
    await link(temporary, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw error
    // File systems without hard links.
    if (await stat(path).catch(() => undefined)) throw Object.assign(new Error(`${path} is there already`), { code: 'EEXIST' })
    return rename(temporary, path)
  }
  await rm(temporary)
}

/** @param make writes the file it is given the name of @throws what `make` throws; EEXIST where the file is there and not to be replaced */
async function appear(path: string, overwrite: boolean, make: (temporary: string) => Promise<void>): Promise<void> {
  if (!overwrite && await stat(path).catch(() => undefined)) throw Object.assign(new Error(`${path} is there already`), { code: 'EEXIST' })
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`
  try {
    await make(temporary)
    await place(temporary, path, overwrite)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw error
  }
}

/**
 * Writes what a disk holds, with all below it, as one new image.
 * @param from the disk; `format` undefined: by the file's own marks
 * @throws VmmError, DiskFormatError for the source; RangeError where the new format cannot hold it; AbortError; system errors
 */
export async function convertDisk(from: { readonly path: string; readonly format?: DiskFormat }, path: string, options: NewImage): Promise<void> {
  const source = await openDisk(from.path, true, from.format)
  try {
    await appear(path, options.overwrite ?? false, (temporary) => write(source, temporary, path, options))
  } finally {
    await source.close()
  }
}

/** An empty disk, or (qcow2 only) one laid over another. @throws RangeError for sizes that cannot be; system errors */
export async function createDisk(path: string, { backing, ...options }: NewImage & CreateOptions): Promise<void> {
  const { sizeBytes, clusterBits } = options
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) throw new RangeError(`a disk of ${sizeBytes} bytes does not exist: the size must be a multiple of 512`)
  if (backing && options.format !== 'qcow2') throw new RangeError(`only qcow2 images can be laid over others, not ${options.format}`)
  const empty: DiskSource = {
    sizeBytes, read: (_, target) => Promise.resolve(void target.fill(0)),
    extent: (offset, length) => Promise.resolve({ length: Math.min(length, sizeBytes - offset), zero: true }),
  }
  await appear(path, options.overwrite ?? false, (temporary) => options.format === 'qcow2'
    ? createQcow2(temporary, { sizeBytes, ...(clusterBits !== undefined && { clusterBits }), ...(backing && { backing }) })
    : write(empty, temporary, path, options))
}

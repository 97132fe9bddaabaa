/** New disk images in any format, empty or with what another one holds. They appear under their names when they are whole. */
import { basename } from 'node:path'
import { writeBeside, type Beside } from './beside'
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

function write(source: DiskSource, part: string, path: string, options: NewImage): Promise<void> {
  if (options.format === 'raw') return writeRaw(source, part, options)
  if (options.format === 'qcow2') return writeQcow2(source, part, options)
  return writeForeignImage(source, part, options.format, options, basename(path))
}

const beside = ({ overwrite = false }: NewImage): Beside => ({ purpose: 'writing', replace: overwrite })

/**
 * Writes what a disk holds as one new image.
 * @throws RangeError where the format cannot hold it; AbortError; EEXIST where the file is there and not to be replaced; system errors
 */
export async function writeImage(source: DiskSource, path: string, options: NewImage): Promise<void> {
  await writeBeside(path, beside(options), (part) => write(source, part, path, options))
}

/**
 * Writes what a disk holds, with all below it, as one new image.
 * @param from the disk; `format` undefined: by the file's own marks
 * @throws VmmError, DiskFormatError for the source; RangeError where the new format cannot hold it; AbortError; system errors
 */
export async function convertDisk(from: { readonly path: string; readonly format?: DiskFormat }, path: string, options: NewImage): Promise<void> {
  const source = await openDisk(from.path, true, from.format)
  try {
    await writeImage(source, path, options)
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
  await writeBeside(path, beside(options), (part) => options.format === 'qcow2'
    ? createQcow2(part, { sizeBytes, ...(clusterBits !== undefined && { clusterBits }), ...(backing && { backing }) })
    : write(empty, part, path, options))
}

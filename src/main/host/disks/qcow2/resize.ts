/** Other sizes for qcow2 images. One sector of the header decides which it is: until it is written the disk is the old one. */
import { VmmError } from '../../../vmm/errors'
import type { WriteOptions } from '../formats/common/write'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { Qcow2Image, makeSound, type BackingSource } from './image'
import { MAX_L1_BYTES, SIZE_AT } from './layout'
import { freePastEnd, l1EntriesFor, openTables, shrinkQcow2, type OpenTables } from './shrink'

const L1_AT = 36

/** Moves the L1 table to where it has room for a disk of that size. */
async function growL1({ file, header, counts }: OpenTables, sizeBytes: number): Promise<void> {
  const cluster = 2 ** header.clusterBits
  const entries = l1EntriesFor(header, sizeBytes)
  if (entries * 8 > MAX_L1_BYTES) throw new RangeError(`a disk of ${sizeBytes} bytes needs larger clusters than the ${cluster} bytes of ${file.path}: convert it`)
  if (entries <= header.l1Entries) return
  const clusters = Math.ceil((entries * 8) / cluster)
  const table = new Uint8Array(clusters * cluster)
  await file.read(header.l1Offset, table.subarray(0, header.l1Entries * 8))
  const offset = await counts.allocateRun(clusters)
  await file.write(offset, table)
  await counts.write()
  await file.sync()
  const place = new DataView(new ArrayBuffer(12))
  place.setUint32(0, entries)
  place.setBigUint64(4, BigInt(offset))
  await file.write(L1_AT, new Uint8Array(place.buffer))
  await file.sync()
  if (header.l1Entries > 0) await counts.release(header.l1Offset, header.l1Entries * 8)
  await counts.write()
}

/** Runs with the image's file open for writing, its header checked. */
async function withFile(openFile: () => Promise<DiskFile>, options: WriteOptions, work: (file: DiskFile, header: Header) => Promise<void>): Promise<void> {
  const file = await openFile()
  try {
    const header = await readHeader(file)
    await makeSound(file, header, options)
    await work(file, header)
  } finally {
    await file.close()
  }
}

async function writeSize(file: DiskFile, sizeBytes: number): Promise<void> {
  const field = new DataView(new ArrayBuffer(8))
  field.setBigUint64(0, BigInt(sizeBytes))
  await file.write(SIZE_AT, new Uint8Array(field.buffer))
  await file.sync()
}

async function makeRoom(file: DiskFile, header: Header, sizeBytes: number): Promise<void> {
  const tables = await openTables(file, header)
  // Left by a change of size that was cut off, or by another program.
  await freePastEnd(tables, header.sizeBytes)
  await growL1(tables, sizeBytes)
}

type OpenBacking = (backing: NonNullable<Header['backing']>) => Promise<BackingSource>

/** Neither the rest of the last cluster nor a longer base may show. */
async function clearAdded(old: number, sizeBytes: number, openBacking: OpenBacking, openFile: () => Promise<DiskFile>): Promise<void> {
  let backingBytes = 0
  const counted = async (backing: NonNullable<Header['backing']>): Promise<BackingSource> => {
    const source = await openBacking(backing)
    backingBytes = source.sizeBytes
    return source
  }
  const image = await Qcow2Image.from(await openFile(), false, counted, { sizeBytes })
  try {
    const end = Math.min(sizeBytes, Math.max(Math.ceil(old / image.clusterSize) * image.clusterSize, backingBytes))
    if (end > old) await image.writeZeroes(old, end - old)
  } finally {
    await image.close()
  }
}

export interface ResizeOptions extends WriteOptions {
  /** The image's file, for writing. */
  readonly openFile?: () => Promise<DiskFile>
}

/**
 * What is added reads as zeroes; what is cut off is lost. No machine may have the image open.
 * @param openBacking opens what the image is laid over
 * @throws RangeError for sizes that cannot be; AbortError: the disk is as it was; VmmError, DiskFormatError
 */
export async function resizeQcow2(path: string, sizeBytes: number, openBacking: OpenBacking, options: ResizeOptions = {}): Promise<void> {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) throw new RangeError(`a disk of ${sizeBytes} bytes does not exist: the size must be a multiple of 512`)
  const { openFile = (): Promise<DiskFile> => DiskFile.open(path, false), signal } = options
  let old = 0
  await withFile(openFile, options, async (file, header) => {
    if (header.version === 2 && header.snapshots > 0) throw new VmmError('unsupported', `${path}: a version 2 image with internal snapshots cannot have another size`, { path })
    old = header.sizeBytes
    if (sizeBytes < old) return shrinkQcow2(file, header, sizeBytes, options)
    if (sizeBytes > old) await makeRoom(file, header, sizeBytes)
  })
  if (sizeBytes <= old) return
  await clearAdded(old, sizeBytes, openBacking, openFile)
  signal?.throwIfAborted()
  await withFile(openFile, options, (file) => writeSize(file, sizeBytes))
}

/** Other sizes for qcow2 images. The size in the header is changed last: until then the image is the old one. */
import { VmmError } from '../../../vmm/errors'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { Qcow2Image, makeSound, type BackingSource } from './image'
import { MAX_L1_BYTES } from './layout'
import { Refcounts } from './refcounts'

const SIZE_AT = 24
const L1_AT = 36

/** Moves the L1 table to where it has room for a disk of that size. */
async function growL1(file: DiskFile, header: Header, sizeBytes: number): Promise<void> {
  const cluster = 2 ** header.clusterBits
  const entries = Math.ceil(sizeBytes / (cluster * (cluster / 8)))
  if (entries * 8 > MAX_L1_BYTES) throw new RangeError(`a disk of ${sizeBytes} bytes needs larger clusters than the ${cluster} bytes of ${file.path}: convert it`)
  if (entries <= header.l1Entries) return
  const counts = new Refcounts(file, header)
  await counts.load()
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
async function withFile(openFile: () => Promise<DiskFile>, work: (file: DiskFile, header: Header) => Promise<void>): Promise<void> {
  const file = await openFile()
  try {
    const header = await readHeader(file)
    await makeSound(file, header)
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

/**
 * What is added reads as zeroes; what is cut off is lost. No machine may have the image open.
 * @param openBacking opens what the image is laid over @param openFile the image's file, for writing
 * @throws RangeError for sizes that cannot be; VmmError, DiskFormatError
 */
export async function resizeQcow2(
  path: string, sizeBytes: number, openBacking: (backing: NonNullable<Header['backing']>) => Promise<BackingSource>, openFile = (): Promise<DiskFile> => DiskFile.open(path, false),
): Promise<void> {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) throw new RangeError(`a disk of ${sizeBytes} bytes does not exist: the size must be a multiple of 512`)
  let old = 0
  let backingBytes = 0
  await withFile(openFile, async (file, header) => {
    if (header.version === 2 && header.snapshots > 0) throw new VmmError('unsupported', `${path}: a version 2 image with internal snapshots cannot have another size`, { path })
    old = header.sizeBytes
    if (sizeBytes > old) await growL1(file, header, sizeBytes)
  })
  if (sizeBytes === old) return
  const counted = async (backing: NonNullable<Header['backing']>): Promise<BackingSource> => {
    const source = await openBacking(backing)
    backingBytes = source.sizeBytes
    return source
  }
  const image = await Qcow2Image.from(await openFile(), false, counted, { sizeBytes: Math.max(old, sizeBytes) })
  try {
    if (sizeBytes < old) await image.discard(sizeBytes, old - sizeBytes)
    else {
      // Neither the rest of the last cluster nor a longer base may show.
      const end = Math.min(sizeBytes, Math.max(Math.ceil(old / image.clusterSize) * image.clusterSize, backingBytes))
      if (end > old) await image.writeZeroes(old, end - old)
    }
  } finally {
    await image.close()
  }
  await withFile(openFile, (file) => writeSize(file, sizeBytes))
}

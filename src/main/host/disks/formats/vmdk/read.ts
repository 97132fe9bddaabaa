/** VMware disks (VMDK): one sparse file with the descriptor within, or a descriptor file that names sparse and flat extents. */
import { dirname, join } from 'node:path'
import { checkDiskSize, ForeignImage, openWith, type Piece, type PieceSource } from '../common/foreign-image'
import { ImageFile } from '../common/image-file'
import { MAX_DESCRIPTOR, parseDescriptor, totalBytes, type Descriptor, type Extent } from './descriptor'
import { DESCRIPTOR_START, FLAG, SECTOR } from './layout'
import { readSparseHeader, SparseExtent } from './sparse'

/** One extent at its place in the disk. */
interface Part {
  readonly start: number
  readonly length: number
  /** @param offset in bytes within the extent */
  locate(offset: number): Promise<Piece>
}

class VmdkPieces implements PieceSource {
  constructor(readonly files: readonly ImageFile[], readonly subformat: string, readonly sizeBytes: number, private readonly parts: readonly Part[]) {}

  async locate(offset: number): Promise<Piece> {
    let low = 0
    for (let high = this.parts.length - 1; low < high;) {
      const middle = (low + high + 1) >> 1
      if (this.parts[middle].start <= offset) low = middle
      else high = middle - 1
    }
    const part = this.parts[low]
    const piece = await part.locate(offset - part.start)
    const left = part.start + part.length - offset
    return piece.length <= left ? piece : { ...piece, length: left }
  }
}

async function monolithic(file: ImageFile): Promise<PieceSource> {
  const header = await readSparseHeader(file)
  const sizeBytes = header.capacitySectors * SECTOR
  checkDiskSize(file, 'VMDK header', sizeBytes)
  let subformat = header.flags & FLAG.compressed ? 'streamOptimized' : 'monolithicSparse'
  if (header.descriptorSector !== 0) {
    if (header.descriptorSectors * SECTOR > MAX_DESCRIPTOR) throw file.fail('VMDK header', 36, `a descriptor of ${header.descriptorSectors} sectors is too long`)
    const bytes = await file.bytes('VMDK descriptor', header.descriptorSector * SECTOR, header.descriptorSectors * SECTOR)
    subformat = parseDescriptor(file, new Uint8Array(bytes.buffer)).createType || subformat
  }
  const extent = new SparseExtent(file, header)
  return new VmdkPieces([file], subformat, sizeBytes, [{ start: 0, length: sizeBytes, locate: (offset) => extent.locate(offset) }])
}

async function openPart(descriptor: ImageFile, extent: Extent, start: number, files: ImageFile[]): Promise<Part> {
  const length = extent.sectors * SECTOR
  if (extent.kind === 'zero') return { start, length, locate: (offset) => Promise.resolve({ kind: 'zero', length: length - offset }) }
  const file = await ImageFile.open(join(dirname(descriptor.path), extent.fileName)).catch((error: unknown) => {
    const missing = error instanceof Error && (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw missing ? descriptor.fail('VMDK descriptor', 0, `the extent '${extent.fileName}' is missing`) : error
  })
  files.push(file)
  if (extent.kind === 'flat') {
    file.checkRange('VMDK flat extent', extent.offset * SECTOR, length)
    return { start, length, locate: (offset) => Promise.resolve({ kind: 'data', length: length - offset, file, at: extent.offset * SECTOR + offset }) }
  }
  const header = await readSparseHeader(file)
  if (header.capacitySectors < extent.sectors) throw file.fail('VMDK header', 12, `its ${header.capacitySectors} sectors are fewer than the ${extent.sectors} of the descriptor`)
  const sparse = new SparseExtent(file, header)
  return { start, length, locate: (offset) => sparse.locate(offset) }
}

async function fromDescriptor(file: ImageFile, descriptor: Descriptor): Promise<PieceSource> {
  const sizeBytes = totalBytes(file, descriptor.extents)
  const files = [file]
  try {
    const parts: Part[] = []
    let start = 0
    for (const extent of descriptor.extents) {
      if (extent.sectors === 0) continue
      parts.push(await openPart(file, extent, start, files))
      start += extent.sectors * SECTOR
    }
    return new VmdkPieces(files, descriptor.createType, sizeBytes, parts)
  } catch (error) {
    // The descriptor itself is closed by who opened it.
    await Promise.all(files.slice(1).map((extent) => extent.close()))
    throw error
  }
}

async function parse(file: ImageFile): Promise<PieceSource> {
  const start = new Uint8Array(DESCRIPTOR_START.length)
  await file.readPadded(0, start)
  if (Buffer.from(start).toString('latin1') !== DESCRIPTOR_START) return monolithic(file)
  if (file.size > MAX_DESCRIPTOR) throw file.fail('VMDK descriptor', 0, `it is longer than ${MAX_DESCRIPTOR} bytes`)
  const bytes = await file.bytes('VMDK descriptor', 0, file.size)
  return fromDescriptor(file, parseDescriptor(file, new Uint8Array(bytes.buffer)))
}

/** @throws DiskFormatError, system errors of opening a file */
export async function openVmdk(path: string): Promise<ForeignImage> {
  return openWith(await ImageFile.open(path), 'vmdk', parse)
}

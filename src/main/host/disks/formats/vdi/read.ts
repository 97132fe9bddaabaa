/**
 * VirtualBox disk images (VDI 1.1), as described by VirtualBox's VDICore.h: a header, a table with one entry per block,
 * and blocks in order of their first write.
 */
import { checkDiskSize, ForeignImage, isPowerOfTwo, openWith, type Piece, type PieceSource } from '../common/foreign-image'
import { ImageFile, u64 } from '../common/image-file'
import { PagedTable } from '../common/paged-table'
import { BLOCK_FREE, BLOCK_ZERO, HEADER_BYTES, SIGNATURE, TYPES, VERSION } from './layout'

const HEADER = 'VDI header'

export interface VdiHeader {
  readonly type: 'dynamic' | 'fixed'
  readonly tableOffset: number
  readonly dataOffset: number
  readonly sizeBytes: number
  readonly blockBytes: number
  /** Bytes of private data before each block. */
  readonly blockExtra: number
  readonly blocks: number
}

/** @throws DiskFormatError */
export async function readVdiHeader(file: ImageFile): Promise<VdiHeader> {
  const view = await file.bytes(HEADER, 0, HEADER_BYTES)
  const le = (at: number): number => view.getUint32(at, true)
  const fail = (at: number, why: string): Error => file.fail(HEADER, at, why)
  if (le(0x40) !== SIGNATURE) throw fail(0x40, 'it has not the signature of a VDI')
  if (le(0x44) !== VERSION) throw fail(0x44, `version ${le(0x44) >>> 16}.${le(0x44) & 0xffff} is not supported, only 1.1`)
  const type = TYPES[le(0x4c)]
  if (type === 'differencing' || type === 'undo') {
    throw fail(0x4c, `it is a ${type} image, which holds only changes to another disk; merge it in VirtualBox first (VBoxManage clonemedium)`)
  }
  if (type === undefined) throw fail(0x4c, `image type ${le(0x4c)} is unknown`)
  const header = {
    type, tableOffset: le(0x154), dataOffset: le(0x158), sizeBytes: u64(file, HEADER, view, 0x170, true), blockBytes: le(0x178), blockExtra: le(0x17c), blocks: le(0x180),
  }
  checkDiskSize(file, HEADER, header.sizeBytes)
  if (!isPowerOfTwo(header.blockBytes) || header.blockBytes < 4096 || header.blockBytes > 256 << 20) throw fail(0x178, `a block size of ${header.blockBytes} is not possible`)
  if (header.blockExtra > 1 << 20 || header.blockExtra % 512 !== 0) throw fail(0x17c, `${header.blockExtra} extra bytes per block are not possible`)
  if (header.blocks < Math.ceil(header.sizeBytes / header.blockBytes)) throw fail(0x180, `${header.blocks} blocks are too few for a disk of ${header.sizeBytes} bytes`)
  if (header.tableOffset < HEADER_BYTES - 112) throw fail(0x154, `a block table at byte ${header.tableOffset} would lie in the header`)
  if (header.dataOffset < header.tableOffset) throw fail(0x158, `data at byte ${header.dataOffset} would lie before the block table`)
  return header
}

class VdiPieces implements PieceSource {
  readonly files: readonly ImageFile[]
  private readonly table: PagedTable

  constructor(private readonly file: ImageFile, private readonly header: VdiHeader) {
    this.files = [file]
    this.table = new PagedTable(file, 'VDI block table', header.tableOffset, header.blocks, 4, true)
  }

  get sizeBytes(): number {
    return this.header.sizeBytes
  }

  get subformat(): string {
    return this.header.type
  }

  async locate(offset: number): Promise<Piece> {
    const { blockBytes, blockExtra, dataOffset } = this.header
    const block = Math.floor(offset / blockBytes)
    const within = offset % blockBytes
    const length = blockBytes - within
    const entry = await this.table.u32(block)
    if (entry === BLOCK_FREE || entry === BLOCK_ZERO) return { kind: 'zero', length }
    const start = dataOffset + entry * (blockBytes + blockExtra) + blockExtra
    if (entry >= this.header.blocks || start >= this.file.size) {
      throw this.file.fail('VDI block table', this.table.offsetOf(block), `block ${block} is said to be at byte ${start}, past the end of the file`)
    }
    return { kind: 'data', length, file: this.file, at: start + within }
  }
}

/** @throws DiskFormatError, system errors of opening the file */
export async function openVdi(path: string): Promise<ForeignImage> {
  return openWith(await ImageFile.open(path), 'vdi', async (file) => new VdiPieces(file, await readVdiHeader(file)))
}

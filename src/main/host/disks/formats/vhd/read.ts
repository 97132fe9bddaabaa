/**
 * Virtual PC and Hyper-V disks of the first generation (VHD): a footer at the end; a dynamic image repeats it at its start and has
 * a header, a block table, and blocks with a bitmap of the sectors ever written. The data of unwritten sectors is zero, so that the
 * bitmaps need not be read.
 */
import { checkDiskSize, ForeignImage, isPowerOfTwo, openWith, type Piece, type PieceSource } from '../common/foreign-image'
import { ImageFile, text, u64 } from '../common/image-file'
import { PagedTable } from '../common/paged-table'
import {
  bitmapBytes, BLOCK_FREE, checksum, DYNAMIC_CHECKSUM_AT, DYNAMIC_COOKIE, DYNAMIC_HEADER_BYTES, FOOTER_BYTES, FOOTER_CHECKSUM_AT, FOOTER_COOKIE, TYPE,
} from './layout'

const FOOTER = 'VHD footer'
const HEADER = 'VHD dynamic disk header'

interface Footer {
  readonly type: number
  readonly sizeBytes: number
  readonly headerOffset: number
  /** Where the footer that was read is. */
  readonly at: number
}

/** @returns why it is no footer, or the footer's bytes */
function soundFooter(view: DataView): string | undefined {
  if (text(view, 0, 8) !== FOOTER_COOKIE) return `it does not begin with '${FOOTER_COOKIE}'`
  const sum = checksum(new Uint8Array(view.buffer, view.byteOffset, FOOTER_BYTES), FOOTER_CHECKSUM_AT)
  return sum === view.getUint32(FOOTER_CHECKSUM_AT) ? undefined : 'its checksum does not match'
}

/** The footer at the end; else the copy at the start, which is all that a dynamic image cut off in the middle of growing still has. */
async function readFooter(file: ImageFile): Promise<Footer> {
  if (file.size < FOOTER_BYTES) throw file.fail(FOOTER, 0, 'the file is too short to hold one')
  let why = ''
  // Images of old Virtual PC versions end after 511 bytes of the footer: the last byte, always zero, is read as such.
  for (const at of [file.size - FOOTER_BYTES, file.size - FOOTER_BYTES + 1, 0]) {
    const bytes = new Uint8Array(FOOTER_BYTES)
    await file.readPadded(at, bytes)
    const view = new DataView(bytes.buffer)
    const trouble = soundFooter(view)
    why ||= trouble ?? ''
    if (trouble !== undefined) continue
    const type = view.getUint32(60)
    // A fixed image has one footer, at its end; one at the start belongs to the guest's data.
    if (at === 0 && type === TYPE.fixed && file.size !== FOOTER_BYTES) continue
    return { at, type, sizeBytes: u64(file, FOOTER, view, 48, false), headerOffset: type === TYPE.fixed ? 0 : u64(file, FOOTER, view, 16, false) }
  }
  throw file.fail(FOOTER, file.size - FOOTER_BYTES, why)
}

class FixedPieces implements PieceSource {
  readonly subformat = 'fixed'
  readonly files: readonly ImageFile[]

  constructor(private readonly file: ImageFile, readonly sizeBytes: number) {
    this.files = [file]
  }

  locate(offset: number): Promise<Piece> {
    return Promise.resolve({ kind: 'data', length: this.sizeBytes - offset, file: this.file, at: offset })
  }
}

class DynamicPieces implements PieceSource {
  readonly subformat = 'dynamic'
  readonly files: readonly ImageFile[]
  private readonly bitmap: number

  constructor(private readonly file: ImageFile, readonly sizeBytes: number, private readonly table: PagedTable, private readonly blockBytes: number) {
    this.files = [file]
    this.bitmap = bitmapBytes(blockBytes)
  }

  async locate(offset: number): Promise<Piece> {
    const block = Math.floor(offset / this.blockBytes)
    const within = offset % this.blockBytes
    const length = this.blockBytes - within
    const sector = await this.table.u32(block)
    if (sector === BLOCK_FREE) return { kind: 'zero', length }
    const start = sector * 512 + this.bitmap
    if (sector === 0 || start >= this.file.size) {
      throw this.file.fail('VHD block table', this.table.offsetOf(block), `block ${block} is said to be at byte ${sector * 512}, outside the file's data`)
    }
    return { kind: 'data', length, file: this.file, at: start + within }
  }
}

async function dynamicPieces(file: ImageFile, footer: Footer): Promise<PieceSource> {
  const view = await file.bytes(HEADER, footer.headerOffset, DYNAMIC_HEADER_BYTES)
  const fail = (at: number, why: string): Error => file.fail(HEADER, footer.headerOffset + at, why)
  if (text(view, 0, 8) !== DYNAMIC_COOKIE) throw fail(0, `it does not begin with '${DYNAMIC_COOKIE}'`)
  if (checksum(new Uint8Array(view.buffer), DYNAMIC_CHECKSUM_AT) !== view.getUint32(DYNAMIC_CHECKSUM_AT)) throw fail(DYNAMIC_CHECKSUM_AT, 'its checksum does not match')
  const blockBytes = view.getUint32(32)
  if (!isPowerOfTwo(blockBytes) || blockBytes < 4096 || blockBytes > 256 << 20) throw fail(32, `a block size of ${blockBytes} is not possible`)
  const blocks = view.getUint32(28)
  if (blocks < Math.ceil(footer.sizeBytes / blockBytes)) throw fail(28, `${blocks} blocks are too few for a disk of ${footer.sizeBytes} bytes`)
  const table = new PagedTable(file, 'VHD block table', u64(file, HEADER, view, 16, false), blocks, 4, false)
  return new DynamicPieces(file, footer.sizeBytes, table, blockBytes)
}

async function parse(file: ImageFile): Promise<PieceSource> {
  const footer = await readFooter(file)
  checkDiskSize(file, FOOTER, footer.sizeBytes)
  switch (footer.type) {
    case TYPE.fixed:
      if (footer.sizeBytes > footer.at) throw file.fail(FOOTER, footer.at + 48, `a disk of ${footer.sizeBytes} bytes does not fit into the ${footer.at} bytes before the footer`)
      return new FixedPieces(file, footer.sizeBytes)
    case TYPE.dynamic:
      return dynamicPieces(file, footer)
    case TYPE.differencing:
      throw file.fail(FOOTER, footer.at + 60, 'it is a differencing image, which holds only changes to another disk; merge it with its parent first (Merge-VHD)')
    default:
      throw file.fail(FOOTER, footer.at + 60, `disk type ${footer.type} is unknown`)
  }
}

/** @throws DiskFormatError, system errors of opening the file */
export async function openVhd(path: string): Promise<ForeignImage> {
  return openWith(await ImageFile.open(path), 'vhd', parse)
}

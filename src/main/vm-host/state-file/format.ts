/**
 * A machine's state on disk. See docs/decisions on the format. All numbers little-endian.
 *
 *     header   which state it is, which other states hold pages of its memory (`host/state-header.ts`)
 *     chunks   pages of 64 KiB of guest memory each that are not zero and that no base has, packed
 *     machine  deflated JSON: hardware manifest, devices, CPU
 *     index    one record for each piece of a chunk, here or in a base, in the order of loading: where, which pages, checksum
 *     trailer  where machine and index are, their checksums, its own checksum
 *
 * The index is of the whole memory, however many states it is spread over. The trailer comes last, so a file that was not
 * written to its end has none.
 */
import { crc32 } from '../../host/crc32'
import { damaged } from '../../host/state-header'

export const TRAILER_BYTES = 64
const TRAILER_MAGIC = 'NBSTEND\n'

export interface Section { readonly offset: number; readonly length: number; readonly crc: number }
export interface Trailer { readonly machine: Section; readonly index: Section }

export function encodeTrailer({ machine, index }: Trailer): Uint8Array {
  const trailer = Buffer.alloc(TRAILER_BYTES)
  trailer.write(TRAILER_MAGIC, 'latin1')
  ;[machine, index].forEach(({ offset, length, crc }, i) => {
    trailer.writeDoubleLE(offset, 8 + 16 * i)
    trailer.writeUInt32LE(length, 16 + 16 * i)
    trailer.writeUInt32LE(crc, 20 + 16 * i)
  })
  trailer.writeUInt32LE(crc32(trailer.subarray(0, TRAILER_BYTES - 4)), TRAILER_BYTES - 4)
  return trailer
}

/** @throws VmmError `state-damaged` */
export function decodeTrailer(path: string, trailer: Buffer, firstByte: number, fileBytes: number): Trailer {
  if (trailer.toString('latin1', 0, 8) !== TRAILER_MAGIC) throw damaged(path, 'the end', 'is missing: the file was not written completely')
  if (trailer.readUInt32LE(TRAILER_BYTES - 4) !== crc32(trailer.subarray(0, TRAILER_BYTES - 4))) throw damaged(path, 'the end', 'has a wrong checksum')
  const section = (at: number): Section => {
    const found = { offset: trailer.readDoubleLE(at), length: trailer.readUInt32LE(at + 8), crc: trailer.readUInt32LE(at + 12) }
    if (!Number.isSafeInteger(found.offset) || found.offset < firstByte || found.offset + found.length > fileBytes) throw damaged(path, 'the end', 'points outside the file')
    return found
  }
  return { machine: section(8), index: section(24) }
}

/** How a piece is packed. */
export const Packing = { DEFLATE: 0, RAW: 1, BROTLI: 2 } as const
export type Packing = (typeof Packing)[keyof typeof Packing]

/** Where pages of a chunk of guest memory are. */
export interface PieceRecord {
  readonly chunk: number
  /** 0: in this file; i: in base i-1. */
  readonly source: number
  readonly offset: number
  readonly length: number
  /** Bit i: page i of the chunk is in the piece. */
  readonly mask: number
  /** Of those, the ones that are this state's; the others have changed since the piece was written. */
  readonly live: number
  readonly packing: Packing
  readonly crc: number
}

const RECORD_BYTES = 28
/** Of version 1, which had neither source nor live pages. */
const OLD_RECORD_BYTES = 24

export function encodeIndex(records: readonly PieceRecord[]): Uint8Array {
  const index = Buffer.alloc(records.length * RECORD_BYTES)
  records.forEach(({ chunk, source, offset, length, mask, live, packing, crc }, i) => {
    const at = i * RECORD_BYTES
    index.writeUInt32LE(chunk, at)
    index.writeDoubleLE(offset, at + 4)
    index.writeUInt32LE(length, at + 12)
    index.writeUInt16LE(mask, at + 16)
    index.writeUInt16LE(packing, at + 18)
    index.writeUInt32LE(crc, at + 20)
    index.writeUInt16LE(source, at + 24)
    index.writeUInt16LE(live, at + 26)
  })
  return index
}

/** @param endOf where the chunks of a source end @throws VmmError `state-damaged` */
export function decodeIndex(path: string, version: number, index: Buffer, endOf: (source: number) => number): PieceRecord[] {
  const size = version === 1 ? OLD_RECORD_BYTES : RECORD_BYTES
  if (index.length % size !== 0) throw damaged(path, 'the index', 'is cut off')
  return Array.from({ length: index.length / size }, (_, i) => {
    const at = i * size
    const mask = index.readUInt16LE(at + 16)
    const record = {
      chunk: index.readUInt32LE(at), offset: index.readDoubleLE(at + 4), length: index.readUInt32LE(at + 12), mask,
      packing: index.readUInt16LE(at + 18) as Packing, crc: index.readUInt32LE(at + 20),
      ...(version === 1 ? { source: 0, live: mask } : { source: index.readUInt16LE(at + 24), live: index.readUInt16LE(at + 26) }),
    }
    const isInside = Number.isSafeInteger(record.offset) && record.offset > 0 && record.offset + record.length <= endOf(record.source)
    const isSound = isInside && record.live !== 0 && (record.live & ~mask) === 0 && record.packing <= Packing.BROTLI
    if (!isSound) throw damaged(path, 'the index', `has an impossible record for memory chunk ${record.chunk}`)
    return record
  })
}

export function pagesIn(mask: number): number {
  let count = 0
  for (let m = mask; m !== 0; m &= m - 1) count++
  return count
}

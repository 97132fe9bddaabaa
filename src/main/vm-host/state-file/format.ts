/**
 * A machine's state on disk. See docs/decisions on the format. All numbers little-endian.
 *
 *     header   magic, version
 *     chunks   64 KiB of guest memory each: its non-zero pages, deflated (or as they are), those in use first
 *     machine  deflated JSON: hardware manifest, devices, CPU
 *     index    one record a chunk: where it is, which pages, checksum
 *     trailer  where machine and index are, their checksums, its own checksum
 *
 * The trailer comes last, so a file that was not written to its end has none.
 */
import * as zlib from 'node:zlib'
import { VmmError } from '../../vmm/errors'

export const FORMAT_VERSION = 1
export const HEADER_BYTES = 16
export const TRAILER_BYTES = 64
const HEADER_MAGIC = 'NESTBOX\x1a'
const TRAILER_MAGIC = 'NBSTEND\n'

/** A section that cannot be used. @param section in words a person can pass on */
export function damaged(path: string, section: string, why: string): VmmError {
  return new VmmError('state-damaged', `the saved state ${path} is damaged: ${section} ${why}`, { path, section })
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  return c
})

function crc32Here(bytes: Uint8Array): number {
  let crc = -1
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8)
  return (crc ^ -1) >>> 0
}

/** CRC-32 as in zip. Node has it from 20.15 and 22.2 on; Electron's Node may be older. */
export const crc32: (bytes: Uint8Array) => number = (zlib as { crc32?: (bytes: Uint8Array) => number }).crc32 ?? crc32Here

export function encodeHeader(): Uint8Array {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(HEADER_MAGIC, 'latin1')
  header.writeUInt32LE(FORMAT_VERSION, 8)
  return header
}

/** @throws VmmError `state-damaged`, `state-mismatch` for a version of the future */
export function checkHeader(path: string, header: Buffer): void {
  if (header.toString('latin1', 0, 8) !== HEADER_MAGIC) throw damaged(path, 'the header', 'is not that of a saved state')
  const version = header.readUInt32LE(8)
  if (version > FORMAT_VERSION || version < 1) {
    const differences = [{ what: 'file format', saved: String(version), now: String(FORMAT_VERSION) }]
    throw new VmmError('state-mismatch', `the saved state ${path} has file format ${version}; this program knows ${FORMAT_VERSION}`, { path, differences })
  }
}

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
export function decodeTrailer(path: string, trailer: Buffer, fileBytes: number): Trailer {
  if (trailer.toString('latin1', 0, 8) !== TRAILER_MAGIC) throw damaged(path, 'the end', 'is missing: the file was not written completely')
  if (trailer.readUInt32LE(TRAILER_BYTES - 4) !== crc32(trailer.subarray(0, TRAILER_BYTES - 4))) throw damaged(path, 'the end', 'has a wrong checksum')
  const section = (at: number): Section => {
    const found = { offset: trailer.readDoubleLE(at), length: trailer.readUInt32LE(at + 8), crc: trailer.readUInt32LE(at + 12) }
    if (!Number.isSafeInteger(found.offset) || found.offset < HEADER_BYTES || found.offset + found.length > fileBytes) throw damaged(path, 'the end', 'points outside the file')
    return found
  }
  return { machine: section(8), index: section(24) }
}

/** Where a chunk of guest memory is. */
export interface ChunkRecord {
  readonly chunk: number
  readonly offset: number
  readonly length: number
  /** Bit i: page i is not zero. */
  readonly mask: number
  /** Kept as it is: it would not get smaller. */
  readonly raw: boolean
  readonly crc: number
}

const RECORD_BYTES = 24

export function encodeIndex(records: readonly ChunkRecord[]): Uint8Array {
  const index = Buffer.alloc(records.length * RECORD_BYTES)
  records.forEach(({ chunk, offset, length, mask, raw, crc }, i) => {
    const at = i * RECORD_BYTES
    index.writeUInt32LE(chunk, at)
    index.writeDoubleLE(offset, at + 4)
    index.writeUInt32LE(length, at + 12)
    index.writeUInt16LE(mask, at + 16)
    index.writeUInt16LE(raw ? 1 : 0, at + 18)
    index.writeUInt32LE(crc, at + 20)
  })
  return index
}

/** In the order of the file. @throws VmmError `state-damaged` */
export function decodeIndex(path: string, index: Buffer, chunksEnd: number): ChunkRecord[] {
  if (index.length % RECORD_BYTES !== 0) throw damaged(path, 'the index', 'is cut off')
  return Array.from({ length: index.length / RECORD_BYTES }, (_, i) => {
    const at = i * RECORD_BYTES
    const record = {
      chunk: index.readUInt32LE(at), offset: index.readDoubleLE(at + 4), length: index.readUInt32LE(at + 12),
      mask: index.readUInt16LE(at + 16), raw: (index.readUInt16LE(at + 18) & 1) !== 0, crc: index.readUInt32LE(at + 20),
    }
    const isInside = Number.isSafeInteger(record.offset) && record.offset >= HEADER_BYTES && record.offset + record.length <= chunksEnd
    if (!isInside || record.mask === 0) throw damaged(path, 'the index', `has an impossible record for chunk ${record.chunk}`)
    return record
  })
}

export function pagesIn(mask: number): number {
  let count = 0
  for (let m = mask; m !== 0; m &= m - 1) count++
  return count
}

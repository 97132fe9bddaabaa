/**
 * The head of a machine's state file: which state it is, and which other states hold pages of its memory. Whoever keeps, copies
 * or removes such files needs to know this much of them; the rest is `vm-host/state-file`.
 *
 *     0   magic, 8 bytes
 *     8   u32 version
 *     12  u32 number of bases
 *     16  id, 16 bytes
 *     32  16 bytes each: ids of the bases
 *         u32 CRC-32 of all before
 *
 * Version 1 ended after the version and four zero bytes: it had no name and stood alone. All numbers little-endian.
 */
import { open } from 'node:fs/promises'
import { VmmError } from '../vmm/errors'
import { crc32 } from './crc32'

export const STATE_VERSION = 2
const MAGIC = 'NESTBOX\x1a'
const PREFIX_BYTES = 16
const ID_BYTES = 16
/** More than are ever written: a file that claims them is damaged. */
const MAX_BASES = 1024
/** The longest head there can be. */
export const MAX_HEADER_BYTES = PREFIX_BYTES + ID_BYTES * (1 + MAX_BASES) + 4

export interface StateHeader {
  readonly version: number
  /** UUID; '' of a file of version 1. */
  readonly id: string
  /** UUIDs of the states whose files hold pages of this one's memory. */
  readonly bases: readonly string[]
  /** Where the rest of the file begins. */
  readonly bytes: number
}

/** A part that cannot be used. @param section in words a person can pass on */
export function damaged(path: string, section: string, why: string): VmmError {
  return new VmmError('state-damaged', `the saved state ${path} is damaged: ${section} ${why}`, { reason: 'stateDamaged', path, section, why })
}

const uuidOf = (bytes: Buffer): string => bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
const bytesOf = (uuid: string): Buffer => Buffer.from(uuid.replaceAll('-', ''), 'hex')

export function encodeHeader(id: string, bases: readonly string[]): Uint8Array {
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.write(MAGIC, 'latin1')
  prefix.writeUInt32LE(STATE_VERSION, 8)
  prefix.writeUInt32LE(bases.length, 12)
  const head = Buffer.concat([prefix, ...[id, ...bases].map(bytesOf)])
  const crc = Buffer.alloc(4)
  crc.writeUInt32LE(crc32(head))
  return Buffer.concat([head, crc])
}

/**
 * @param start the first bytes of the file, as many of `MAX_HEADER_BYTES` as there are
 * @throws VmmError `state-damaged`; `state-mismatch` for a version of the future
 */
export function decodeHeader(path: string, start: Buffer): StateHeader {
  if (start.length < PREFIX_BYTES) throw damaged(path, 'the file', 'is too short')
  if (start.toString('latin1', 0, 8) !== MAGIC) throw damaged(path, 'the header', 'is not that of a saved state')
  const version = start.readUInt32LE(8)
  if (version > STATE_VERSION || version < 1) {
    const differences = [{ what: 'file format', saved: String(version), now: String(STATE_VERSION) }]
    throw new VmmError('state-mismatch', `the saved state ${path} has file format ${version}; this program knows ${STATE_VERSION}`, { path, differences })
  }
  const count = start.readUInt32LE(12)
  if (version === 1) {
    if (count !== 0) throw damaged(path, 'the header', 'has a wrong checksum')
    return { version, id: '', bases: [], bytes: PREFIX_BYTES }
  }
  const end = PREFIX_BYTES + ID_BYTES * (1 + count)
  if (count > MAX_BASES || start.length < end + 4) throw damaged(path, 'the header', 'is cut off')
  if (crc32(start.subarray(0, end)) !== start.readUInt32LE(end)) throw damaged(path, 'the header', 'has a wrong checksum')
  const ids = Array.from({ length: 1 + count }, (_, i) => uuidOf(start.subarray(PREFIX_BYTES + ID_BYTES * i, PREFIX_BYTES + ID_BYTES * (i + 1))))
  return { version, id: ids[0], bases: ids.slice(1), bytes: end + 4 }
}

/** @throws VmmError as `decodeHeader`; rejects with Node's system error where the file cannot be read */
export async function readStateHeader(path: string): Promise<StateHeader> {
  const file = await open(path, 'r')
  try {
    const start = Buffer.alloc(MAX_HEADER_BYTES)
    const { bytesRead } = await file.read(start, 0, start.length, 0)
    return decodeHeader(path, start.subarray(0, bytesRead))
  } finally {
    await file.close()
  }
}

/** One virtio-blk request as the driver wrote it: struct virtio_blk_req, virtio 1.2, 5.2.6. */
import type { GuestMemory } from '../../bus/types'
import { VmmError } from '../../errors'
import { QueueError, readChain, type Buffer, type DescriptorChain } from '../queue/virtqueue'

export const SECTOR = 512
export const Type = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const
export const Result = { OK: 0, IOERR: 1, UNSUPPORTED: 2 } as const
export const MAX_RANGE_SECTORS = 1 << 22
/** Ranges one DISCARD or WRITE_ZEROES may list. */
export const MAX_RANGES = 64
/** Largest data part of one request. */
export const MAX_DATA = 1 << 26
const HEADER_BYTES = 16
const RANGE_BYTES = 16
/** WRITE_ZEROES may free the space; every other flag bit is reserved. */
const RANGE_UNMAP = 1

/** The request is of a kind we do not offer: answered VIRTIO_BLK_S_UNSUPP. */
export class UnsupportedRequest extends Error {}

export interface BlkRequest {
  readonly chain: DescriptorChain
  readonly type: number
  readonly sector: number
  /** Without header and status byte. */
  readonly data: readonly Buffer[]
  readonly dataBytes: number
  /** Guest-physical address of the status byte. */
  readonly statusAt: number
}

/** A range of whole sectors, in bytes. */
export interface ByteRange { readonly offset: number; readonly length: number }

/** One of a DISCARD or WRITE_ZEROES. `unmap`: the host may free the space. */
export interface ClearRange extends ByteRange { readonly unmap: boolean }

/** @throws QueueError where header or status byte are missing: there is no place for an answer */
export function parseRequest(memory: GuestMemory, chain: DescriptorChain): BlkRequest {
  const header = readChain(memory, chain.readable, HEADER_BYTES)
  if (header.length < HEADER_BYTES) throw new QueueError(`request header of ${header.length} bytes`)
  const writable = chain.writable.filter((b) => b.length > 0)
  const last = writable.at(-1)
  if (!last) throw new QueueError('request without a status byte')
  const view = new DataView(header.buffer)
  const type = view.getUint32(0, true)
  const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32
  const toDevice = type === Type.OUT || type === Type.DISCARD || type === Type.WRITE_ZEROES
  const answer = [...writable.slice(0, -1), { gpa: last.gpa, length: last.length - 1 }]
  const data = (toDevice ? skip(chain.readable, HEADER_BYTES) : answer).filter((b) => b.length > 0)
  const dataBytes = data.reduce((sum, b) => sum + b.length, 0)
  return { chain, type, sector, data, dataBytes, statusAt: last.gpa + last.length - 1 }
}

/** Where an IN or OUT goes. @throws VmmError `disk-io` where that is not on the disk */
export function transferRange({ sector, dataBytes }: BlkRequest, diskBytes: number): ByteRange {
  const offset = sector * SECTOR
  if (dataBytes > MAX_DATA || dataBytes % SECTOR !== 0 || offset + dataBytes > diskBytes) {
    throw new VmmError('disk-io', `${dataBytes} bytes at sector ${sector} are not on a disk of ${diskBytes} bytes`)
  }
  return { offset, length: dataBytes }
}

/**
 * What a DISCARD or WRITE_ZEROES lists: struct virtio_blk_discard_write_zeroes, one after the other.
 * @throws VmmError `disk-io` for a range that is not on the disk, UnsupportedRequest for flags we do not know
 */
export function rangesOf(memory: GuestMemory, { type, data, dataBytes }: BlkRequest, diskBytes: number): ClearRange[] {
  if (dataBytes === 0 || dataBytes % RANGE_BYTES !== 0 || dataBytes > MAX_RANGES * RANGE_BYTES) {
    throw new VmmError('disk-io', `range list of ${dataBytes} bytes: 1 to ${MAX_RANGES} ranges of ${RANGE_BYTES} bytes are taken`)
  }
  const view = new DataView(readChain(memory, data, dataBytes).buffer)
  return Array.from({ length: dataBytes / RANGE_BYTES }, (_, i) => rangeAt(view, i * RANGE_BYTES, type, diskBytes))
}

function rangeAt(view: DataView, at: number, type: number, diskBytes: number): ClearRange {
  const sector = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32
  const sectors = view.getUint32(at + 8, true)
  const flags = view.getUint32(at + 12, true)
  if (flags !== 0 && !(type === Type.WRITE_ZEROES && flags === RANGE_UNMAP)) throw new UnsupportedRequest()
  if (sectors > MAX_RANGE_SECTORS || (sector + sectors) * SECTOR > diskBytes) {
    throw new VmmError('disk-io', `${sectors} sectors at ${sector} are not on the disk`)
  }
  return { offset: sector * SECTOR, length: sectors * SECTOR, unmap: flags === RANGE_UNMAP }
}

/** Buffers without their first `count` bytes. */
function skip(buffers: readonly Buffer[], count: number): Buffer[] {
  let left = count
  const rest: Buffer[] = []
  for (const { gpa, length } of buffers) {
    const drop = Math.min(left, length)
    left -= drop
    if (length > drop) rest.push({ gpa: gpa + drop, length: length - drop })
  }
  return rest
}

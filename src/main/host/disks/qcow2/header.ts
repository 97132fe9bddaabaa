/** The qcow2 header and its extensions: read with every bound checked, written for new images. */
import type { DiskFile } from './disk-file'
import { decodeIdentity, encodeIdentity, type FileIdentity } from './identity'
import {
  Compression, Extension, HEADER_V2_BYTES, HEADER_V3_BYTES, Incompatible, MAGIC, MAX_BACKING_NAME, MAX_CLUSTER_BITS, MAX_L1_BYTES,
  MAX_REFCOUNT_TABLE_BYTES, MIN_CLUSTER_BITS,
} from './layout'

export interface Backing {
  /** As the image says it: relative to the image's folder. */
  readonly path: string
  /** Undefined: to be found out from the file. */
  readonly format: string | undefined
  /** What it was when the image was laid over it; undefined where the image does not say. */
  readonly identity?: FileIdentity | undefined
}

export interface Header {
  readonly version: 2 | 3
  readonly clusterBits: number
  readonly sizeBytes: number
  readonly l1Entries: number
  readonly l1Offset: number
  readonly refcountTableOffset: number
  readonly refcountTableClusters: number
  readonly refcountOrder: number
  readonly incompatible: bigint
  readonly autoclear: bigint
  readonly compression: number
  readonly snapshots: number
  readonly snapshotsOffset: number
  /** Directory of dirty bitmaps, in bytes; its contents count as long as the autoclear bit says so. */
  readonly bitmaps: { readonly count: number; readonly offset: number; readonly length: number } | undefined
  readonly backing: Backing | undefined
}

const KNOWN = Incompatible.DIRTY | Incompatible.CORRUPT | Incompatible.COMPRESSION_TYPE
const KNOWN_BUT_UNSUPPORTED: readonly (readonly [bigint, string])[] = [
  [Incompatible.DATA_FILE, 'its data is in another file'], [Incompatible.EXTENDED_L2, 'it has subclusters (extended L2 entries)'],
]

const latin = (view: DataView, at: number, length: number): string => Buffer.from(view.buffer, view.byteOffset + at, length).toString('utf8').replace(/\0+$/, '')

function safe(file: DiskFile, name: string, view: DataView, at: number): number {
  const value = view.getBigUint64(at)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw file.fail('header', at, `${name} ${value} is out of all bounds`)
  return Number(value)
}

/** @throws DiskFormatError naming what is wrong */
export async function readHeader(file: DiskFile): Promise<Header> {
  const fail = (at: number, why: string): never => { throw file.fail('header', at, why) }
  const view = await file.structure('header', 0, HEADER_V2_BYTES)
  if (view.getUint32(0) !== MAGIC) fail(0, 'this is not a qcow2 image')
  const version = view.getUint32(4)
  if (version !== 2 && version !== 3) return fail(4, `version ${version} is not known (2 and 3 are)`)
  const clusterBits = view.getUint32(20)
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) fail(20, `clusters of 2^${clusterBits} bytes do not exist (2^${MIN_CLUSTER_BITS} to 2^${MAX_CLUSTER_BITS})`)
  if (view.getUint32(32) !== 0) fail(32, 'it is encrypted, which Nestbox cannot read')
  const rest = version === 3 ? await file.structure('header', 0, HEADER_V3_BYTES) : undefined
  const headerBytes = rest ? rest.getUint32(100) : HEADER_V2_BYTES
  if (headerBytes < (rest ? HEADER_V3_BYTES : HEADER_V2_BYTES) || headerBytes > 2 ** clusterBits || headerBytes % 8 !== 0) fail(100, `a header of ${headerBytes} bytes does not exist`)
  const incompatible = rest?.getBigUint64(72) ?? 0n
  const extensions = await readExtensions(file, headerBytes, 2 ** clusterBits)
  refuseUnknown(file, incompatible, extensions.features)
  const compression = headerBytes > HEADER_V3_BYTES
    ? (await file.structure('header', 0, HEADER_V3_BYTES + 8)).getUint8(HEADER_V3_BYTES) : Compression.ZLIB
  if ((compression !== Compression.ZLIB) !== ((incompatible & Incompatible.COMPRESSION_TYPE) !== 0n)) fail(HEADER_V3_BYTES, `compression type ${compression} and the feature bit for it do not agree`)
  if (compression > Compression.ZSTD) fail(HEADER_V3_BYTES, `compression type ${compression} is not known`)
  const refcountOrder = rest ? rest.getUint32(96) : 4
  if (refcountOrder > 6) fail(96, `refcounts of 2^${refcountOrder} bits do not exist`)
  const header: Header = {
    version, clusterBits, incompatible, compression, refcountOrder,
    autoclear: rest?.getBigUint64(88) ?? 0n, snapshots: view.getUint32(60), snapshotsOffset: safe(file, 'snapshot table offset', view, 64),
    bitmaps: extensions.bitmaps,
    sizeBytes: Math.ceil(safe(file, 'disk size', view, 24) / 512) * 512, l1Entries: view.getUint32(36), l1Offset: safe(file, 'L1 table offset', view, 40),
    refcountTableOffset: safe(file, 'refcount table offset', view, 48), refcountTableClusters: view.getUint32(56),
    backing: await readBacking(file, view, extensions),
  }
  checkTables(file, header)
  return header
}

function checkTables(file: DiskFile, h: Header): void {
  const cluster = 2 ** h.clusterBits
  const fail = (at: number, why: string): never => { throw file.fail('header', at, why) }
  const needed = Math.ceil(h.sizeBytes / (cluster * (cluster / 8)))
  if (h.l1Entries < needed) fail(36, `an L1 table of ${h.l1Entries} entries is too short for ${h.sizeBytes} bytes`)
  if (h.l1Entries * 8 > MAX_L1_BYTES) fail(36, `an L1 table of ${h.l1Entries} entries is too large`)
  if (h.refcountTableClusters === 0) fail(56, 'it has no refcount table')
  if (h.refcountTableClusters * cluster > MAX_REFCOUNT_TABLE_BYTES) fail(56, `a refcount table of ${h.refcountTableClusters} clusters is too large`)
  for (const [at, offset] of [[40, h.l1Offset], [48, h.refcountTableOffset]]) {
    if (offset % cluster !== 0) fail(at, `the table at ${offset} does not begin at a cluster`)
    // The header itself is there.
    if (offset === 0 && (at === 48 || h.l1Entries > 0)) fail(at, 'the table is said to be at 0')
  }
}

async function readBacking(file: DiskFile, view: DataView, { backingFormat, identity }: Extensions): Promise<Backing | undefined> {
  const offset = safe(file, 'backing file name offset', view, 8)
  const length = view.getUint32(16)
  if (offset === 0 || length === 0) return undefined
  if (length > MAX_BACKING_NAME) throw file.fail('header', 16, `a backing file name of ${length} bytes is too long`)
  return { path: latin(await file.structure('backing file name', offset, length), 0, length), format: backingFormat, identity }
}

interface Extensions {
  readonly backingFormat: string | undefined
  readonly identity: FileIdentity | undefined
  readonly bitmaps: Header['bitmaps']
  readonly features: ReadonlyMap<number, string>
}

const FEATURE_BYTES = 48
const BITMAPS_BYTES = 24

async function readExtensions(file: DiskFile, start: number, end: number): Promise<Extensions> {
  const view = await file.structure('header extensions', 0, Math.min(end, file.size))
  let backingFormat: string | undefined
  let identity: FileIdentity | undefined
  let bitmaps: Header['bitmaps']
  const features = new Map<number, string>()
  for (let at = start; at + 8 <= view.byteLength;) {
    const type = view.getUint32(at)
    const length = view.getUint32(at + 4)
    if (type === Extension.END) break
    if (at + 8 + length > view.byteLength) throw file.fail('header extensions', at, `an extension of ${length} bytes leaves the first cluster`)
    if (type === Extension.BACKING_FORMAT) backingFormat = latin(view, at + 8, length)
    if (type === Extension.BACKING_IDENTITY) identity = decodeIdentity(view, at + 8, length)
    if (type === Extension.BITMAPS && length >= BITMAPS_BYTES) {
      bitmaps = { count: view.getUint32(at + 8), length: safe(file, 'length of the bitmap directory', view, at + 16), offset: safe(file, 'offset of the bitmap directory', view, at + 24) }
    }
    if (type === Extension.FEATURE_NAMES) {
      for (let i = 0; i + FEATURE_BYTES <= length; i += FEATURE_BYTES) {
        if (view.getUint8(at + 8 + i) === 0) features.set(view.getUint8(at + 9 + i), latin(view, at + 10 + i, FEATURE_BYTES - 2))
      }
    }
    at += 8 + Math.ceil(length / 8) * 8
  }
  return { backingFormat, identity, bitmaps, features }
}

function refuseUnknown(file: DiskFile, incompatible: bigint, names: ReadonlyMap<number, string>): void {
  for (const [bit, what] of KNOWN_BUT_UNSUPPORTED) if ((incompatible & bit) !== 0n) throw file.fail('header', 72, `${what}, which Nestbox cannot use`)
  for (let bit = 0; bit < 64; bit++) {
    if (((incompatible & ~KNOWN) >> BigInt(bit) & 1n) !== 0n) throw file.fail('header', 72, `it needs feature "${names.get(bit) ?? `bit ${bit}`}", which Nestbox does not know`)
  }
}

/** First cluster of a new image, version 3. */
export function encodeHeader(h: Omit<Header, 'snapshotsOffset' | 'bitmaps'>): Uint8Array {
  const bytes = new Uint8Array(2 ** h.clusterBits)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC)
  view.setUint32(4, 3)
  view.setUint32(20, h.clusterBits)
  view.setBigUint64(24, BigInt(h.sizeBytes))
  view.setUint32(36, h.l1Entries)
  view.setBigUint64(40, BigInt(h.l1Offset))
  view.setBigUint64(48, BigInt(h.refcountTableOffset))
  view.setUint32(56, h.refcountTableClusters)
  view.setUint32(96, h.refcountOrder)
  view.setUint32(100, HEADER_V3_BYTES)
  if (h.backing) putBacking(bytes, HEADER_V3_BYTES, h.backing, [])
  return bytes
}

/** An extension that is carried over as it is. */
export interface RawExtension { readonly type: number; readonly data: Uint8Array }

/**
 * Puts extensions and the name of the backing file behind the header's fields; what was there is gone.
 * @param bytes the first cluster @param at bytes of the fields @throws RangeError where they do not fit
 */
export function putBacking(bytes: Uint8Array, at: number, { path, format, identity }: Backing, others: readonly RawExtension[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const name = Buffer.from(path)
  const extensions = [...others]
  if (format !== undefined) extensions.push({ type: Extension.BACKING_FORMAT, data: Buffer.from(format) })
  if (identity) extensions.push({ type: Extension.BACKING_IDENTITY, data: encodeIdentity(identity) })
  const end = extensions.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, at) + 8
  if (name.length === 0 || name.length > MAX_BACKING_NAME || end + name.length > bytes.length) throw new RangeError(`the name of the backing file is too long: ${path}`)
  bytes.fill(0, at)
  for (const { type, data } of extensions) {
    view.setUint32(at, type)
    view.setUint32(at + 4, data.length)
    bytes.set(data, at + 8)
    at += 8 + Math.ceil(data.length / 8) * 8
  }
  view.setBigUint64(8, BigInt(end))
  view.setUint32(16, name.length)
  bytes.set(name, end)
}

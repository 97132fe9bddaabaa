/**
 * Writes into an image what it is laid over. A power cut leaves it as it was or as it is to be: a medium writes a sector as a whole or
 * not at all, and sectors between two barriers in any order.
 */
import type { DiskFile } from './disk-file'
import { putBacking, type Backing, type Header, type RawExtension } from './header'
import { Extension, HEADER_V2_BYTES } from './layout'

const SECTOR = 512
/** Type and length before an extension's data. */
const EXTENSION_HEAD = 8
/** Where the header says where the name of the backing file is: u64 offset, u32 length. */
const NAME_FIELDS = [8, 20] as const

const REPLACED: readonly number[] = [Extension.BACKING_FORMAT, Extension.BACKING_IDENTITY, Extension.SKIPPED]

/** Extensions that stay. The header was read before, so all of them lie within the cluster. */
function* otherExtensions(first: DataView, start: number): Generator<RawExtension> {
  for (let at = start; at + EXTENSION_HEAD <= first.byteLength;) {
    const type = first.getUint32(at)
    const length = first.getUint32(at + 4)
    if (type === Extension.END) return
    if (!REPLACED.includes(type)) yield { type, data: new Uint8Array(first.buffer.slice(at + EXTENSION_HEAD, at + EXTENSION_HEAD + length)) }
    at += EXTENSION_HEAD + Math.ceil(length / 8) * 8
  }
}

/** @returns the bytes that differ, from the first to behind the last */
function difference(a: Uint8Array, b: Uint8Array): readonly [start: number, end: number] | undefined {
  const start = b.findIndex((byte, i) => byte !== a[i])
  return start < 0 ? undefined : [start, b.findLastIndex((byte, i) => byte !== a[i]) + 1]
}

const isOneSector = ([start, end]: readonly [number, number]): boolean => Math.floor(start / SECTOR) === Math.floor((end - 1) / SECTOR)

/**
 * @param file of an image whose header is `header`
 * @param isCopy nobody uses it: it may be torn on the way
 * @returns false where nothing was written, since the first cluster has no room for both, what was and what is to be: in clusters of
 *   1 or 2 KiB, with names of hundreds of bytes. Then it has to be written into a copy that takes the image's place.
 * @throws RangeError where the name does not fit
 */
export async function writeBacking(file: DiskFile, { clusterBits, version }: Header, next: Backing, isCopy = false): Promise<boolean> {
  const first = await file.structure('header', 0, Math.min(2 ** clusterBits, file.size))
  const fields = version === 3 ? first.getUint32(100) : HEADER_V2_BYTES
  const before = new Uint8Array(2 ** clusterBits)
  before.set(new Uint8Array(first.buffer))
  const others = [...otherExtensions(first, fields)]
  const after = before.slice()
  putBacking(after, fields, next, others)
  const change = difference(before, after)
  if (!change) return true
  const steps = isCopy || isOneSector(change) ? [after] : stepsTo(before, after, fields, (cluster, at) => putBacking(cluster, at, next, others))
  if (!steps) return false
  let written: Uint8Array = before
  for (const step of steps) {
    const part = difference(written, step)
    if (part) await file.write(part[0], step.subarray(...part))
    await file.sync()
    written = step
  }
  return true
}

/**
 * The first cluster as it is to be written, with a barrier behind each. What is new is put behind everything first; one sector then
 * says that the extensions begin there (those that were are the data of one to be passed over) and where the name is. After that it is
 * put where it belongs, in the data passed over, and the same sector decides again.
 * @param put writes extensions and name at a place, and where the name is into the header
 * @returns undefined where there is no room for both
 */
function stepsTo(before: Uint8Array, after: Uint8Array, fields: number, put: (cluster: Uint8Array, at: number) => void): Uint8Array[] | undefined {
  const used = (cluster: Uint8Array): number => cluster.findLastIndex((byte) => byte !== 0) + 1
  // The end of the list may be eight zeroes.
  const aside = (Math.ceil(Math.max(used(before), used(after)) / 8) + 1) * 8
  if (fields + EXTENSION_HEAD > SECTOR || aside + used(after) - fields > after.length) return undefined
  const decided = before.slice()
  put(decided, aside)
  const prepared = decided.slice()
  prepared.set(before.subarray(...NAME_FIELDS), NAME_FIELDS[0])
  const view = new DataView(decided.buffer)
  view.setUint32(fields, Extension.SKIPPED)
  view.setUint32(fields + 4, aside - fields - EXTENSION_HEAD)
  const inPlace = decided.slice()
  inPlace.set(after.subarray(fields + EXTENSION_HEAD, aside), fields + EXTENSION_HEAD)
  const done = after.slice()
  done.set(inPlace.subarray(aside), aside)
  return [prepared, decided, inPlace, done, after]
}

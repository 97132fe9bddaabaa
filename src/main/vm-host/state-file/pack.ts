/** Packs pieces of guest memory as fast as a disk takes them. */
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'
import { CHUNK_BYTES } from '../../vmm/machine'
import { Packing } from './format'

const brotli = promisify(brotliCompress) as (bytes: Uint8Array, options: object) => Promise<Buffer>
/**
 * The lowest quality packs four times as fast as the fastest deflate, into a twentieth more. Node goes back and forth between its
 * threads for each `chunkSize` that comes out; so large that it is once.
 */
const FASTEST = { params: { [constants.BROTLI_PARAM_QUALITY]: 0, [constants.BROTLI_PARAM_LGWIN]: 16 }, chunkSize: CHUNK_BYTES + 1024 }
const SAMPLES = 1024
/** Different bytes among the samples. Of noise there are 251 on average, seldom below 243; machine code and text have fewer than 230. */
const NOISE_FROM = 241

/** Whether bytes look as if nothing could be saved: packed or encrypted already. A wrong guess costs space or time, not more. */
export function looksPacked(bytes: Uint8Array): boolean {
  if (bytes.length < SAMPLES) return false
  const seen = new Uint8Array(256)
  const step = bytes.length / SAMPLES
  let different = 0
  for (let i = 0; i < SAMPLES; i++) {
    // The same place in each page would see what pages have in common.
    const value = bytes[Math.floor(i * step) + (i & 3)] ?? 0
    different += 1 - seen[value]
    seen[value] = 1
  }
  return different >= NOISE_FROM
}

export interface Packed { readonly bytes: Uint8Array; readonly packing: Packing }

const smaller = (bytes: Uint8Array, packed: Uint8Array): Packed =>
  (packed.length < bytes.length ? { bytes: packed, packing: Packing.BROTLI } : { bytes, packing: Packing.RAW })

/** On Node's threads. */
export async function pack(bytes: Uint8Array): Promise<Packed> {
  return looksPacked(bytes) ? { bytes, packing: Packing.RAW } : smaller(bytes, await brotli(bytes, FASTEST))
}

/** The hottest guest code, for people: disassembled, and as the WebAssembly it became. */
import type { Vcpu } from '../cpu/core/vcpu'
import { glueName } from '../cpu/dbt/translator'
import { listBlock } from '../cpu/decode/disassemble'
import { listFunction } from '../cpu/emit/wasm/listing'
import { cellNameAt } from '../cpu/state/names'
import { Mode } from '../cpu/state/mode'
import { PAGE_SIZE } from '../memory/frame-table'
import type { GuestProfile, HotPlace } from './profile'
import type { HotBlock } from './types'

const hexBytes = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ')

function describe({ code, address, modeKey, mode, cpl, tier, samples, ns }: HotPlace, cpu: Vcpu): HotBlock {
  const lines = listBlock(cpu.decode, code, address, modeKey, (modeKey & Mode.CODE64) !== 0)
  return { address, modeKey, mode, cpl, tier, samples, ns, lines: lines.map((line) => ({ address: line.address, bytes: hexBytes(line.bytes), text: line.text })) }
}

/** Blocks with the most time, most first. */
export function hotBlocks(profile: GuestProfile, cpu: Vcpu, count: number): HotBlock[] {
  return profile.hottest(count).map((place) => describe(place, cpu))
}

/**
 * The wasm function that runs the code at a sampled place, as text. Undefined where no sample fell there, its code is no longer
 * decoded, or tier 0 runs it.
 */
export function wasmOf(profile: GuestProfile, cpu: Vcpu, address: bigint, modeKey: number): string | undefined {
  const place = profile.placeAt(address, modeKey)
  const code = place && cpu.cache.find(place.page, modeKey)
  const made = code && cpu.translations?.functions.translationAt(code, Number(address & BigInt(PAGE_SIZE - 1)))
  if (!made) return undefined
  const ranges = made.ranges.map(({ offset, bytes }) => `0x${offset.toString(16)}..0x${(offset + bytes.length).toString(16)}`).join(' ')
  return [`;; ${made.kind} of the page's bytes ${ranges}`, ...listFunction(made.body, { call: glueName, cell: cellNameAt })].join('\n')
}

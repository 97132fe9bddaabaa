/**
 * Constants that may be other ones at the next boot, though the code is the same. Linux moves itself at every boot, and adds the distance
 * to the addresses of its own that stand in its code as 32 bits. A translation reads such a constant from a list its head record names,
 * which is filled from the code when the translation takes its place: so it can be kept, and its code is known again without them.
 */
import { PAGE_SIZE } from '../../memory/frame-table'
import type { DecodedInsn } from '../decode/types'
import type { Width } from '../emit/emitter'
import { Mode } from '../state/mode'
import { inPage, pageOf } from './code-window'

/** Bytes of guest code, by page (its distance from the head's) and offset in it. */
export interface CodeRange { readonly page: number; readonly offset: number; readonly bytes: Uint8Array }

/** Where four bytes of a constant stand. */
export interface ConstantPlace { readonly page: number; readonly offset: number }

export const CONSTANT_BYTES = 4

/** The part of the address space that a kernel's own image has, as 32 bits: 1 GiB at -2 GiB, or 512 MiB from 3 GiB on. */
const KERNEL_64 = { first: -(2 ** 31), end: -(2 ** 30) }
const KERNEL_32 = { first: -(2 ** 30), end: -(2 ** 29) }
/** Masks and sizes look like addresses, but have nothing but zeros here. */
const LOW_BITS = 0x0fff_ffff

export class OwnConstants {
  readonly places: ConstantPlace[] = []
  private readonly indices = new Map<number, number>()
  private readonly byInsn = new Map<number, Set<ConstantPlace>>()
  private readonly range: { readonly first: number; readonly end: number } | undefined

  /** @param from the bytes of code at an offset from the head's page */
  constructor(modeKey: number, private readonly from: (offset: number) => Uint8Array | undefined) {
    const code64 = (modeKey & Mode.CODE64) !== 0
    if ((modeKey & Mode.USER) === 0 && (modeKey & (Mode.CODE64 | Mode.CODE32)) !== 0) this.range = code64 ? KERNEL_64 : KERNEL_32
  }

  /**
   * The number of a constant of the instruction at an offset.
   * @returns undefined where it is no address of the kernel's, or where its bytes cannot be told from others
   */
  indexOf(offset: number, insn: DecodedInsn, value: bigint, width: Width): number | undefined {
    const { range } = this
    if (!range || (width !== 32 && width !== 64)) return undefined
    const number = Number(BigInt.asIntN(width, value))
    return number < range.first || number >= range.end || (number & LOW_BITS) === 0 ? undefined : this.enter(offset, insn, number)
  }

  /**
   * The same of a displacement from RIP to what does not move with the code: Linux reaches a CPU's own data in FS or GS so, which begin
   * at 0, and takes from these displacements what it adds to addresses.
   * @returns undefined where its bytes cannot be told from others, and outside supervisor code
   */
  indexOfDistance(offset: number, insn: DecodedInsn, displacement: bigint): number | undefined {
    return this.range && this.enter(offset, insn, Number(displacement))
  }

  private enter(offset: number, { length }: DecodedInsn, number: number): number | undefined {
    const at = this.find(offset, length, number)
    if (at === undefined || inPage(at) > PAGE_SIZE - CONSTANT_BYTES) return undefined
    const known = this.indices.get(at) ?? this.places.length
    if (known === this.places.length) this.places.push({ page: pageOf(at), offset: inPage(at) })
    this.indices.set(at, known)
    this.byInsn.set(offset, (this.byInsn.get(offset) ?? new Set()).add(this.places[known]))
    return known
  }

  /** Those of the instructions at some offsets. */
  within(offsets: readonly number[]): ConstantPlace[] {
    return offsets.flatMap((offset) => [...this.byInsn.get(offset) ?? []])
  }

  private find(offset: number, length: number, number: number): number | undefined {
    const bytes = this.from(offset)
    if (!bytes) return undefined
    const code = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const found: number[] = []
    // An instruction begins with its opcode.
    for (let i = 1; i + CONSTANT_BYTES <= length; i++) if (code.getInt32(i, true) === number) found.push(offset + i)
    return found.length === 1 ? found[0] : undefined
  }
}

/**
 * What is left of ranges without constants.
 * @param places of instructions in these ranges: the same bytes may be something else to code that jumps between them
 */
export function withoutConstants(ranges: readonly CodeRange[], places: readonly ConstantPlace[]): CodeRange[] {
  const holes = [...places].sort((a, b) => a.offset - b.offset)
  return ranges.flatMap(({ page, offset, bytes }) => {
    const parts: CodeRange[] = []
    let at = 0
    for (const hole of holes) {
      const from = hole.offset - offset
      if (hole.page !== page || from < at || from >= bytes.length) continue
      if (from > at) parts.push({ page, offset: offset + at, bytes: bytes.slice(at, from) })
      at = from + CONSTANT_BYTES
    }
    if (at < bytes.length) parts.push({ page, offset: offset + at, bytes: bytes.slice(at) })
    return parts
  })
}

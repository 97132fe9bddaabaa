/** A stack that is checked as a whole before anything is written to it: far transfers and event delivery. */
import { CpuFault, Vector, type CpuContext, type Privilege } from '../core/context'
import type { CpuState } from '../state/access'
import { Gpr, Seg } from '../state/layout'
import { withinLimit } from '../../mmu/segment'
import { Attr, descriptorBase, descriptorLimit, is64Bit, isLongMode, usesSelectors, type Descriptor } from './descriptors'

/** What a stack needs to know of its segment. */
export interface StackSegment {
  readonly base: bigint
  readonly limit: number
  readonly attr: number
}

export function currentStackSegment(state: CpuState): StackSegment {
  return { base: state.get64('segBase', Seg.SS), limit: state.get('segLimit', Seg.SS), attr: state.get('segAttr', Seg.SS) }
}

export function stackSegmentOf(d: Descriptor): StackSegment {
  return { base: BigInt(descriptorBase(d)), limit: descriptorLimit(d), attr: d.attr }
}

/** Stack of 16- and 32-bit modes (and compatibility mode): pushes are collected, checked, then written. */
export class LegacyStack {
  private readonly mask: number
  private readonly values: number[] = []
  private readonly start: number

  /** @param size bytes of one push: 2 or 4 */
  constructor(
    private readonly cpu: CpuContext, private readonly segment: StackSegment, pointer: number,
    private readonly size: 2 | 4, private readonly privilege: Privilege,
  ) {
    this.mask = (segment.attr & Attr.DB) !== 0 ? 0xffff_ffff : 0xffff
    this.start = (pointer & this.mask) >>> 0
  }

  push(value: number): void {
    this.values.push(value)
  }

  /** Stack pointer after the pushes, within the stack size. */
  get pointer(): number {
    return ((this.start - this.values.length * this.size) & this.mask) >>> 0
  }

  private offsetOf(index: number): number {
    return ((this.start - (index + 1) * this.size) & this.mask) >>> 0
  }

  private linear(offset: number): bigint {
    return BigInt.asUintN(32, this.segment.base + BigInt(offset))
  }

  /** Limit and paging checks of all pushes. @throws CpuFault #SS(error), #PF */
  check(error: number): void {
    const { attr, limit } = this.segment
    for (let i = 0; i < this.values.length; i++) {
      if (!withinLimit(attr, limit, this.offsetOf(i), this.size)) throw new CpuFault(Vector.SS, error)
    }
    for (let i = 0; i < this.values.length; i++) this.cpu.memory.probe(this.linear(this.offsetOf(i)), this.size, true, this.privilege)
  }

  write(): void {
    this.values.forEach((value, i) => {
      const kept = this.size === 2 ? value & 0xffff : value >>> 0
      this.cpu.memory.write(this.linear(this.offsetOf(i)), this.size, kept, this.privilege)
    })
  }
}

/** Replaces the part of RSP that the stack size covers. */
export function setStackPointer(state: CpuState, pointer: number, wide: boolean): void {
  const old = state.lo('gpr', Gpr.RSP)
  if (wide) state.setLoHi('gpr', pointer, 0, Gpr.RSP)
  else state.setLoHi('gpr', (old & ~0xffff) | (pointer & 0xffff), state.hi('gpr', Gpr.RSP), Gpr.RSP)
}

/** Reads from the running stack without moving RSP: the values of a far return. */
export class StackReader {
  private offset: bigint
  private readonly mask: bigint
  private readonly base: bigint

  constructor(private readonly cpu: CpuContext, private readonly size: 2 | 4 | 8) {
    const { state } = cpu
    this.mask = is64Bit(state) ? 0xffff_ffff_ffff_ffffn : (state.get('segAttr', Seg.SS) & Attr.DB) !== 0 ? 0xffff_ffffn : 0xffffn
    this.base = is64Bit(state) ? 0n : state.get64('segBase', Seg.SS)
    this.offset = state.gpr(Gpr.RSP) & this.mask
  }

  /** Next value, as a 64-bit quantity. @throws CpuFault #SS(0), #PF */
  pop(): bigint {
    const { cpu, size } = this
    const at = this.offset & this.mask
    if (!is64Bit(cpu.state)) this.checkLimit(Number(at))
    const linear = isLongMode(cpu.state) && is64Bit(cpu.state) ? at : BigInt.asUintN(32, this.base + at)
    const value = size === 8 ? cpu.memory.read64(linear) : BigInt(cpu.memory.read(linear, size))
    this.offset = (this.offset + BigInt(size)) & this.mask
    return value
  }

  private checkLimit(offset: number): void {
    const { attr, limit } = currentStackSegment(this.cpu.state)
    if (usesSelectors(this.cpu.state) && (attr & Attr.UNUSABLE) !== 0) throw new CpuFault(Vector.SS, 0)
    if (!withinLimit(attr, limit, offset, this.size)) throw new CpuFault(Vector.SS, 0)
  }

  /** Moves on over `bytes` without reading. */
  skip(bytes: number): void {
    this.offset = (this.offset + BigInt(bytes)) & this.mask
  }

  /** Writes the new stack pointer: the point where the instruction commits. */
  commit(): void {
    const { state } = this.cpu
    state.setGpr(Gpr.RSP, (state.gpr(Gpr.RSP) & ~this.mask) | this.offset)
  }
}

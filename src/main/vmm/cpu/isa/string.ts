/** MOVS, CMPS, SCAS, LODS, STOS with REP. SDM vol. 2. Registers move after every element, so faults and interrupts are exact. */
import { CpuFault, type CpuContext } from '../core/context'
import type { Emitter, Helper, Val } from '../emit/emitter'
import { checkSegment } from '../../mmu/segment'
import { Gpr, Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { row, type Form, type InsnRow, type Meaning } from './types'

type Element = 8 | 16 | 32 | 64
type Turn = (e: Emitter, form: Form, width: Element) => void

const elementWidth = (form: Form): Element => form.size as Element

/** Register as an address: low `addressSize` bits, width 64. */
const pointer = (e: Emitter, form: Form, register: number): Val => e.zext(e.reg(register, form.addressSize), 64)

/** Moves an index register by one element, in the direction DF says. */
function advance(e: Emitter, form: Form, register: number, width: Element): void {
  const a = form.addressSize
  const backwards = e.bit(e.field('rflags'), 10)
  const by = e.select(backwards, e.const(a, -(width / 8)), e.const(a, width / 8))
  e.setReg(register, e.add(e.reg(register, a), by))
}

const source = (e: Emitter, form: Form, width: Element): Val => e.load(width, e.memData(pointer(e, form, Gpr.RSI)))
const destination = (e: Emitter, form: Form): ReturnType<Emitter['memSeg']> => e.memSeg(Seg.ES, pointer(e, form, Gpr.RDI))

const movs: Turn = (e, form, width) => {
  e.store(destination(e, form), source(e, form, width))
  advance(e, form, Gpr.RSI, width)
  advance(e, form, Gpr.RDI, width)
}
const stos: Turn = (e, form, width) => {
  e.store(destination(e, form), e.reg(Gpr.RAX, width))
  advance(e, form, Gpr.RDI, width)
}
const lods: Turn = (e, form, width) => {
  e.setReg(Gpr.RAX, source(e, form, width))
  advance(e, form, Gpr.RSI, width)
}
const cmps: Turn = (e, form, width) => {
  const a = source(e, form, width)
  const b = e.load(width, destination(e, form))
  e.setFlags('sub', a, b, e.sub(a, b))
  advance(e, form, Gpr.RSI, width)
  advance(e, form, Gpr.RDI, width)
}
const scas: Turn = (e, form, width) => {
  const a = e.reg(Gpr.RAX, width)
  const b = e.load(width, destination(e, form))
  e.setFlags('sub', a, b, e.sub(a, b))
  advance(e, form, Gpr.RDI, width)
}

/**
 * Bulk part of REP MOVS and REP STOS: as many elements as lie in RAM within one page of each operand, forward only.
 * Does nothing (the plain loop then does one element) where that is not so, or where the operands overlap in the way
 * that makes MOVS a pattern fill.
 */
const bulkString: Helper = {
  name: 'bulkString', args: ['i64', 'i64', 'i32', 'i32'], faults: false,
  /** @param source64 linear address, or the fill pattern @param kind element bytes, bit 8 fill, bits 16–18 the source's segment */
  run(cpu: CpuContext, source64: bigint, destination64: bigint, kind: number, addressSize: number): void {
    const { state } = cpu
    // Every element may have a debug trap of its own.
    if ((state.get('modeKey') & Mode.SINGLE_STEP) !== 0) return
    const bytes = kind & 0xff
    const fill = (kind & 0x100) !== 0
    const mask = (1n << BigInt(addressSize)) - 1n
    const count = state.gpr(Gpr.RCX) & mask
    const room = (linear: bigint): number => Math.floor((4096 - Number(linear & 0xfffn)) / bytes)
    let elements = Number(count < 4096n ? count : 4096n)
    elements = Math.min(elements, room(destination64))
    if (!fill) elements = Math.min(elements, room(source64))
    const length = elements * bytes
    if (elements < 2 || !allowed(cpu, Seg.ES, state.gpr(Gpr.RDI) & mask, length, mask, true)) return
    if (!fill && !allowed(cpu, (kind >> 16) & 7, state.gpr(Gpr.RSI) & mask, length, mask, false)) return
    if (!copyWithinRam(cpu, source64, destination64, length, fill ? bytes : 0)) return
    const moved = BigInt(length)
    const bump = (register: number, by: bigint): void => {
      const old = state.gpr(register)
      const next = (old + by) & mask
      state.setGpr(register, addressSize === 32 ? next : (old & ~mask) | next)
    }
    if (!fill) bump(Gpr.RSI, moved)
    bump(Gpr.RDI, moved)
    bump(Gpr.RCX, -BigInt(elements))
  },
}

const FLAT_BIT = Math.log2(Mode.FLAT)
const AT_RAX = offsetOf('gpr', Gpr.RAX)
const AT_RCX = offsetOf('gpr', Gpr.RCX)
const AT_RSI = offsetOf('gpr', Gpr.RSI)
const AT_RDI = offsetOf('gpr', Gpr.RDI)

/** Adds to a register without bigint; 32-bit writes clear the upper half. @param by below 2^31 in magnitude */
function bump(view: DataView, at: number, by: number, size: number): void {
  const sum = view.getUint32(at, true) + by
  view.setInt32(at, sum | 0, true)
  if (size === 32) view.setInt32(at + 4, 0, true)
  else if (sum < 0 || sum > 0xffff_ffff) view.setInt32(at + 4, view.getInt32(at + 4, true) + (sum < 0 ? -1 : 1), true)
}

/** As `bulkString` in flat segments, with 32- or 64-bit addresses: kernels do this at every copy and page. */
const bulkFlat: Helper = {
  name: 'bulkFlat', args: ['i32', 'i32', 'i32'], faults: false,
  /** @param bytes of an element @param fill 1: STOS @param addressSize 32 or 64 */
  run({ state, memory }: CpuContext, bytes: number, fill: number, addressSize: number): void {
    const { view } = state
    if ((state.get('modeKey') & Mode.SINGLE_STEP) !== 0) return
    const hi = (at: number): number => (addressSize === 64 ? view.getUint32(at + 4, true) : 0)
    const room = (at: number): number => Math.floor((4096 - (view.getInt32(at, true) & 0xfff)) / bytes)
    let elements = hi(AT_RCX) !== 0 ? 4096 : Math.min(view.getUint32(AT_RCX, true), 4096)
    elements = Math.min(elements, room(AT_RDI), fill ? 4096 : room(AT_RSI))
    const length = elements * bytes
    if (elements < 2) return
    const toLo = view.getUint32(AT_RDI, true)
    const done = fill
      ? memory.fillDirect?.(toLo, hi(AT_RDI), length, state.bytes.subarray(AT_RAX, AT_RAX + bytes))
      : memory.copyDirect?.(toLo, hi(AT_RDI), view.getUint32(AT_RSI, true), hi(AT_RSI), length)
    if (!done) return
    if (!fill) bump(view, AT_RSI, length, addressSize)
    bump(view, AT_RDI, length, addressSize)
    bump(view, AT_RCX, -elements, addressSize)
  },
}

/** True where the whole range lies before the address wraps and the segment allows the access; else single turns find the fault. */
function allowed(cpu: CpuContext, segment: number, ea: bigint, length: number, mask: bigint, write: boolean): boolean {
  if (ea + BigInt(length) > mask + 1n) return false
  if ((cpu.state.get('modeKey') & Mode.CODE64) !== 0) return true
  try {
    checkSegment(cpu, segment, ea, length, write)
    return true
  } catch (error) {
    if (!(error instanceof CpuFault)) throw error
    return false
  }
}

function copyWithinRam(cpu: CpuContext, from: bigint, to: bigint, length: number, patternBytes: number): boolean {
  const target = cpu.memory.directBytes(to, length, true)
  if (!target) return false
  if (patternBytes > 0) {
    for (let i = 0; i < patternBytes; i++) target[i] = Number((from >> BigInt(8 * i)) & 0xffn)
    for (let done = patternBytes; done < length; done *= 2) target.copyWithin(done, 0, Math.min(done, length - done))
    return true
  }
  const distance = to - from
  if (distance > 0n && distance < BigInt(length)) return false
  const origin = cpu.memory.directBytes(from, length, false)
  if (!origin) return false
  target.set(origin)
  return true
}

/**
 * REP: the count is looked at first; one element a turn, then a chance to be interrupted. After the last element there is
 * none: the instruction is over, and a debug trap is told with the address of the next one.
 */
function repeat(e: Emitter, form: Form, turn: () => void, stop?: () => Val): void {
  const a = form.addressSize
  e.if(e.ne(e.reg(Gpr.RCX, a), e.const(a, 0)), () => e.loop((control) => {
    turn()
    e.setReg(Gpr.RCX, e.sub(e.reg(Gpr.RCX, a), e.const(a, 1)))
    if (stop) e.if(stop(), () => control.break())
    e.if(e.isZero(e.reg(Gpr.RCX, a)), () => control.break())
    e.checkpoint()
  }))
}

/** Tries the bulk helper before each plain turn where it can apply: flat addresses known, forward, many elements. */
function bulk(e: Emitter, form: Form, fill: boolean): void {
  const a = form.addressSize
  const width = elementWidth(form)
  const many = e.ltu(e.const(a, 15), e.reg(Gpr.RCX, a))
  const forward = e.isZero(e.bit(e.field('rflags'), 10))
  e.if(e.and(many, forward), () => {
    const element = e.const(32, width / 8)
    const origin = e.memData(pointer(e, form, Gpr.RSI))
    const anywhere = (): void => {
      const to = e.linearAddress(destination(e, form))
      const from = fill ? e.reg(Gpr.RAX, 64) : e.linearAddress(origin)
      const kind = fill ? e.or(element, e.const(32, 0x100)) : e.or(element, e.shl(e.segmentNumber(origin), e.const(32, 16)))
      e.call(bulkString, from, to, kind, e.const(32, a))
    }
    if (a === 16) return anywhere()
    // FS and GS have bases in flat modes too, and code segments need not be readable.
    const segment = e.segmentNumber(origin)
    const other = fill ? e.const(1, 0n) : e.or(e.ltu(e.const(32, Seg.DS), segment), e.eq(segment, e.const(32, Seg.CS)))
    const flat = e.and(e.bit(e.field('modeKey'), FLAT_BIT), e.isZero(other))
    e.if(flat, () => e.call(bulkFlat, element, e.const(32, fill ? 1 : 0), e.const(32, a)), anywhere)
  })
}

const moving = (turn: Turn, bulkKind?: 'copy' | 'fill'): Meaning => (e, form) => {
  const width = elementWidth(form)
  if (form.rep === 'none') return turn(e, form, width)
  repeat(e, form, () => {
    if (!bulkKind) return turn(e, form, width)
    bulk(e, form, bulkKind === 'fill')
    // The bulk part may have taken everything: then this turn must not run.
    const left = e.ne(e.reg(Gpr.RCX, form.addressSize), e.const(form.addressSize, 0))
    const again = e.variable(1, left)
    e.if(again.get(), () => turn(e, form, width), () => e.setReg(Gpr.RCX, e.const(form.addressSize, 1)))
  })
}

const comparing = (turn: Turn): Meaning => (e, form) => {
  const width = elementWidth(form)
  if (form.rep === 'none') return turn(e, form, width)
  const wanted = form.rep === 'rep'
  repeat(e, form, () => turn(e, form, width), () => (wanted ? e.isZero(e.flag('zf')) : e.flag('zf')))
}

const COMPARE = { writes: 'oszapc', reads: 'd' }
const DIRECTION = { reads: 'd' }

function rows(name: string, opcode: number, meaning: Meaning, rep: 'rep' | 'repz', flags: InsnRow['flags']): InsnRow[] {
  const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')
  const common = { rep, addressSized: true, flags } as const
  return [
    row(`${name}B`, hex(opcode), '', '', meaning, { ...common, size: 8 }),
    row(name, hex(opcode + 1), '', '', meaning, common),
  ]
}

export const stringRows: readonly InsnRow[] = [
  ...rows('MOVS', 0xa4, moving(movs, 'copy'), 'rep', DIRECTION),
  ...rows('CMPS', 0xa6, comparing(cmps), 'repz', COMPARE),
  ...rows('STOS', 0xaa, moving(stos, 'fill'), 'rep', DIRECTION),
  ...rows('LODS', 0xac, moving(lods), 'rep', DIRECTION),
  ...rows('SCAS', 0xae, comparing(scas), 'repz', COMPARE),
]

/** MOVS, CMPS, SCAS, LODS, STOS with REP. SDM vol. 2. Registers move after every element, so faults and interrupts are exact. */
import type { Emitter, Val } from '../emit/emitter'
import { bulkFill, bulkMove, bulkString } from '../helpers/bulk-string'
import { Gpr, Seg } from '../state/layout'
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

const FLAT_BIT = Math.log2(Mode.FLAT)

/** Elements that are worth a call: 8 bytes at least, or four of those that have as much. */
const worthwhile = (bytes: number): number => Math.max(4, 8 / bytes)

/** Tries the bulk helper before each plain turn where it can apply: forward, many elements. */
function bulk(e: Emitter, form: Form, fill: boolean): void {
  const a = form.addressSize
  const width = elementWidth(form)
  const bytes = width / 8
  const many = e.ltu(e.const(a, worthwhile(bytes) - 1), e.reg(Gpr.RCX, a))
  const forward = e.isZero(e.bit(e.field('rflags'), 10))
  e.if(e.and(many, forward), () => {
    const origin = e.memData(pointer(e, form, Gpr.RSI))
    const anywhere = (): void => {
      const element = e.const(32, bytes)
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
    e.if(flat, () => e.call(fill ? bulkFill : bulkMove, e.const(32, Math.log2(bytes)), e.const(32, a === 64 ? 1 : 0)), anywhere)
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

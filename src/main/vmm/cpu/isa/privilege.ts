/**
 * Common cases of the instructions that change privilege or segments, without a helper: flat segments, 64- or 32-bit code,
 * nothing being debugged. What is in force then follows from few cells (`viewBases`, `ringTables`), and decoding depends on
 * the privilege alone. Everything else, and everything that may fault, is left to the helpers.
 */
import type { Emitter, Val } from '../emit/emitter'
import { Gpr, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { TlbView } from '../../mmu/tlb-layout'

export const SUPERVISOR = 0
export const USER = 1
export type Side = typeof SUPERVISOR | typeof USER

const Bit = { TF: 8, IF: 9, NT: 14, RF: 16, VM: 17, AC: 18 } as const
const mask = (...bits: readonly number[]): bigint => bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)

/** RFLAGS bits that live in `rflags`: all defined ones but the arithmetic flags. */
const KEPT_FLAGS = 0x3f_7700n

/** Code and data over 4 GiB from 0, present, accessed, DPL 0, as they stand in a descriptor table. */
const FLAT_CODE64 = 0x00af_9b00_0000_ffffn
const FLAT_CODE32 = 0x00cf_9b00_0000_ffffn
const FLAT_DATA = 0x00cf_9300_0000_ffffn
const DPL_SHIFT = 45
/** AVL is the system's own. */
const COMPARED = ~(1n << 52n)

/** As `segAttr`. */
const Attr = { CODE64: 0xa09b, CODE32: 0xc09b, DATA: 0xc093, DPL3: 0x60, UNUSABLE: 0x1_0000 } as const

export const all = (e: Emitter, ...conditions: readonly Val[]): Val => conditions.reduce((a, b) => e.and(a, b))

/** The bits of the mode key that say what code runs are exactly these. */
function inMode(e: Emitter, wanted: number): Val {
  const kind = Mode.CODE64 | Mode.CODE32 | Mode.FLAT | Mode.USER | ((wanted & Mode.CODE64) !== 0 ? 0 : Mode.LONG)
  return e.eq(e.and(e.field('modeKey'), e.const(32, kind)), e.const(32, wanted))
}

export const CODE64 = Mode.CODE64 | Mode.FLAT
export const CODE32 = Mode.CODE32 | Mode.FLAT
export const in64 = (e: Emitter, side: Side): Val => inMode(e, CODE64 | (side === USER ? Mode.USER : 0))
export const in32 = (e: Emitter, side: Side): Val => inMode(e, CODE32 | (side === USER ? Mode.USER : 0))

const without = (e: Emitter, flags: Val, ...bits: readonly number[]): Val => e.isZero(e.and(flags, e.const(64, mask(...bits))))

/** The other side's code lookup is known, and no debugging or alignment check is armed. */
const opens = (e: Emitter, side: Side): Val => e.ne(e.field('ringTables', side), e.const(32, 0))

/** Flags that ask for nothing: neither single step nor alignment checks nor another TLB, and no interrupt waits for them. */
export function quiet(e: Emitter, flags: Val): Val {
  const open = e.and(e.bit(flags, Bit.IF), e.ne(e.field('interruptWaits'), e.const(32, 0)))
  return e.and(without(e, flags, Bit.TF, Bit.VM, Bit.AC), e.isZero(open))
}

/** All flags from an architectural RFLAGS value, width 64. */
function setFlags(e: Emitter, flags: Val): void {
  e.setArithFlags(flags)
  e.setField('rflags', e.or(e.and(flags, e.const(64, KEPT_FLAGS)), e.const(64, 2)))
}

function putFlat(e: Emitter, seg: number, selector: Val, attr: number): void {
  e.setField('segSelector', selector, seg)
  e.setField('segBase', e.const(64, 0), seg)
  e.setField('segLimit', e.const(32, -1), seg)
  e.setField('segAttr', e.const(32, attr), seg)
}

/** CPL and everything that follows from it alone. */
function enterSide(e: Emitter, side: Side): void {
  const key = e.field('modeKey')
  e.setField('modeKey', side === USER ? e.or(key, e.const(32, Mode.USER)) : e.and(key, e.const(32, ~Mode.USER)))
  e.setField('cpl', e.const(32, side === USER ? 3 : 0))
  e.setField('codeTlbBase', e.field('ringTables', side))
  e.setField('tlbBase', e.field('viewBases', side === USER ? TlbView.USER : TlbView.SUPERVISOR))
}

/** Selector fields of IA32_STAR, moved on by `by`, with an RPL. */
const starSelector = (e: Emitter, at: 32 | 48, by: number, rpl: 0 | 3): Val => {
  const raw = e.trunc(e.shr(e.field('star'), e.const(64, at)), 32)
  const sum = e.and(e.add(e.and(raw, e.const(32, rpl === 0 ? 0xfffc : 0xffff)), e.const(32, by)), e.const(32, 0xffff))
  return rpl === 0 ? sum : e.or(sum, e.const(32, rpl))
}

const syscallOn = (e: Emitter): Val => e.bit(e.field('efer'), 0)

/** SYSCALL from 64-bit user code. */
export function quickSyscall(e: Emitter): void {
  const flags = e.and(e.rflags(), e.const(64, ~mask(Bit.RF)))
  const kept = e.and(flags, e.not(e.field('sfmask')))
  e.if(all(e, in64(e, USER), opens(e, SUPERVISOR), syscallOn(e), quiet(e, kept)), () => {
    e.setReg(Gpr.RCX, e.nextRip())
    e.setReg(Gpr.R11, flags)
    setFlags(e, kept)
    putFlat(e, Seg.CS, starSelector(e, 32, 0, 0), Attr.CODE64)
    putFlat(e, Seg.SS, starSelector(e, 32, 8, 0), Attr.DATA)
    enterSide(e, SUPERVISOR)
    e.setField('rip', e.field('lstar'))
    e.leave()
  })
}

/** Flags SYSRET takes from R11. */
const SYSRET_FLAGS = 0x3c_7fd7

/** SYSRET to 64-bit code. */
export function quickSysret(e: Emitter): void {
  const target = e.reg(Gpr.RCX, 64)
  const high = e.const(64, 16)
  const canonical = e.eq(e.sar(e.shl(target, high), high), target)
  const flags = e.and(e.reg(Gpr.R11, 64), e.const(64, SYSRET_FLAGS))
  e.if(all(e, in64(e, SUPERVISOR), opens(e, USER), syscallOn(e), canonical, quiet(e, flags)), () => {
    setFlags(e, flags)
    putFlat(e, Seg.CS, starSelector(e, 48, 16, 3), Attr.CODE64 | Attr.DPL3)
    putFlat(e, Seg.SS, starSelector(e, 48, 8, 3), Attr.DATA | Attr.DPL3)
    enterSide(e, USER)
    e.setField('rip', target)
    e.leave()
  })
}

const sysenterSelector = (e: Emitter, by: number, rpl: 0 | 3): Val => {
  const raw = e.and(e.trunc(e.field('sysenterCs'), 32), e.const(32, rpl === 0 ? 0xfffc : 0xffff))
  return e.or(e.and(e.add(raw, e.const(32, by)), e.const(32, 0xffff)), e.const(32, rpl))
}
const sysenterOn = (e: Emitter): Val => e.ne(e.and(e.trunc(e.field('sysenterCs'), 32), e.const(32, 0xfffc)), e.const(32, 0))
const low32 = (e: Emitter, value: Val): Val => e.and(value, e.const(64, 0xffff_ffffn))

/** SYSENTER from flat 32-bit user code. */
export function quickSysenter(e: Emitter): void {
  const flags = e.field('rflags')
  e.if(all(e, in32(e, USER), opens(e, SUPERVISOR), sysenterOn(e), without(e, flags, Bit.AC)), () => {
    e.setField('rflags', e.and(flags, e.const(64, ~mask(Bit.IF, Bit.VM, Bit.RF))))
    e.setReg(Gpr.RSP, e.trunc(e.field('sysenterEsp'), 32))
    putFlat(e, Seg.CS, sysenterSelector(e, 0, 0), Attr.CODE32)
    putFlat(e, Seg.SS, sysenterSelector(e, 8, 0), Attr.DATA)
    enterSide(e, SUPERVISOR)
    e.setField('rip', low32(e, e.field('sysenterEip')))
    e.leave()
  })
}

/** SYSEXIT to flat 32-bit code. */
export function quickSysexit(e: Emitter): void {
  e.if(all(e, in32(e, SUPERVISOR), opens(e, USER), sysenterOn(e), without(e, e.field('rflags'), Bit.AC)), () => {
    e.setField('rip', low32(e, e.reg(Gpr.RDX, 64)))
    e.setReg(Gpr.RSP, e.reg(Gpr.RCX, 32))
    putFlat(e, Seg.CS, sysenterSelector(e, 16, 3), Attr.CODE32 | Attr.DPL3)
    putFlat(e, Seg.SS, sysenterSelector(e, 24, 3), Attr.DATA | Attr.DPL3)
    enterSide(e, USER)
    e.leave()
  })
}

/** A selector of the GDT, within its limit and not null; width 32. */
function inGdt(e: Emitter, selector: Val): Val {
  const index = e.and(selector, e.const(32, 0xfff8))
  const notLocal = e.isZero(e.and(selector, e.const(32, 4)))
  return all(e, notLocal, e.ne(index, e.const(32, 0)), e.isZero(e.ltu(e.field('gdtrLimit'), e.or(index, e.const(32, 7)))))
}

/** The eight bytes of a descriptor, read as flat code of ring 0 reads them. */
function descriptor(e: Emitter, selector: Val): Val {
  const index = e.zext(e.and(selector, e.const(32, 0xfff8)), 64)
  return e.load(64, e.memSeg(Seg.DS, e.and(e.add(e.field('gdtrBase'), index), e.field('stackMask'))))
}

/** True where a descriptor is this one, with the DPL of a selector's RPL. */
function isFlat(e: Emitter, found: Val, wanted: bigint, rpl: Val): Val {
  const dpl = e.shl(e.zext(rpl, 64), e.const(64, DPL_SHIFT))
  return e.eq(e.and(found, e.const(64, COMPARED)), e.or(e.const(64, wanted), dpl))
}

const rplOf = (e: Emitter, selector: Val): Val => e.and(selector, e.const(32, 3))

/** Data segments a return to ring 3 leaves alone: unusable ones and those of DPL 3. */
function keepsSegment(e: Emitter, seg: number): Val {
  const attr = e.field('segAttr', seg)
  const dpl3 = e.eq(e.and(attr, e.const(32, Attr.DPL3)), e.const(32, Attr.DPL3))
  return e.or(dpl3, e.bit(attr, 16))
}
const keepsSegments = (e: Emitter): Val => all(e, ...[Seg.ES, Seg.DS, Seg.FS, Seg.GS].map((seg) => keepsSegment(e, seg)))

interface Frame { readonly rip: Val; readonly cs: Val; readonly flags: Val; readonly size: 32 | 64 }

function readFrame(e: Emitter, size: 32 | 64, count: number): Val[] {
  const rsp = e.reg(Gpr.RSP, 64)
  const at = (i: number): Val => e.and(e.add(rsp, e.const(64, i * (size / 8))), e.field('stackMask'))
  return Array.from({ length: count }, (_, i) => e.load(size, e.memSeg(Seg.SS, at(i))))
}

const selectorOf = (e: Emitter, value: Val): Val => e.zext(e.trunc(value, 16), 32)

/** The end of every IRET here. */
function resume(e: Emitter, { rip, cs, flags, size }: Frame): void {
  // RF ends with the next instruction, and on the short ways no breakpoint is armed that it could hold off.
  setFlags(e, e.and(e.zext(flags, 64), e.const(64, ~mask(Bit.RF))))
  const attr = e.const(32, size === 64 ? Attr.CODE64 : Attr.CODE32)
  putFlat(e, Seg.CS, cs, 0)
  e.setField('segAttr', e.or(attr, e.shl(rplOf(e, cs), e.const(32, 5))), Seg.CS)
  e.setField('nmiBlocked', e.const(32, 0))
  e.setField('rip', e.zext(rip, 64))
  e.leave()
}

/** Ring 0 without NT, AC and what `in64` and `in32` exclude: an IRET that may go the short way. */
const mayReturn = (e: Emitter, here: Val): Val =>
  all(e, here, e.isZero(e.field('cpl')), without(e, e.field('rflags'), Bit.NT, Bit.AC), e.ne(e.field('ringTables', SUPERVISOR), e.const(32, 0)))

/** IRETQ within ring 0, or to flat 64-bit code of ring 3. */
export function quickIret64(e: Emitter): void {
  e.if(mayReturn(e, in64(e, SUPERVISOR)), () => {
    const [rip, csWide, flags, rsp, ssWide] = readFrame(e, 64, 5)
    const cs = selectorOf(e, csWide)
    const ss = selectorOf(e, ssWide)
    const frame: Frame = { rip, cs, flags: e.and(flags, e.const(64, 0xffff_ffffn)), size: 64 }
    const high = e.const(64, 16)
    const canonical = e.eq(e.sar(e.shl(rip, high), high), rip)
    e.if(all(e, canonical, quiet(e, frame.flags), inGdt(e, cs)), () => {
      const code = descriptor(e, cs)
      e.if(isFlat(e, code, FLAT_CODE64, rplOf(e, cs)), () => {
        e.if(all(e, e.isZero(rplOf(e, cs)), e.isZero(ss)), () => {
          putFlat(e, Seg.SS, ss, Attr.UNUSABLE)
          e.setField('segLimit', e.const(32, 0), Seg.SS)
          e.setReg(Gpr.RSP, rsp)
          resume(e, frame)
        })
        e.if(all(e, inGdt(e, ss), e.eq(rplOf(e, ss), rplOf(e, cs))), () => {
          const data = descriptor(e, ss)
          e.if(isFlat(e, data, FLAT_DATA, rplOf(e, ss)), () => toRing(e, frame, { rsp, ss }))
        })
      })
    })
  })
}

/** Ring 0 or 3, whose stack segment has been read and found good. Other rings fall through. */
function toRing(e: Emitter, frame: Frame, stack: { readonly rsp: Val; readonly ss: Val }): void {
  const rpl = rplOf(e, frame.cs)
  e.if(e.isZero(rpl), () => {
    putFlat(e, Seg.SS, stack.ss, Attr.DATA)
    e.setReg(Gpr.RSP, stack.rsp)
    resume(e, frame)
  })
  e.if(all(e, e.eq(rpl, e.const(32, 3)), opens(e, USER), keepsSegments(e)), () => {
    putFlat(e, Seg.SS, stack.ss, Attr.DATA | Attr.DPL3)
    e.setReg(Gpr.RSP, stack.rsp)
    enterSide(e, USER)
    resume(e, frame)
  })
}

/** IRETD within ring 0, or to flat 32-bit code of ring 3. */
export function quickIret32(e: Emitter): void {
  e.if(mayReturn(e, in32(e, SUPERVISOR)), () => {
    const [rip, csWide, flags] = readFrame(e, 32, 3)
    const cs = selectorOf(e, csWide)
    const frame: Frame = { rip, cs, flags, size: 32 }
    e.if(all(e, quiet(e, e.zext(flags, 64)), inGdt(e, cs)), () => {
      const code = descriptor(e, cs)
      e.if(isFlat(e, code, FLAT_CODE32, rplOf(e, cs)), () => {
        e.if(e.isZero(rplOf(e, cs)), () => {
          e.setReg(Gpr.RSP, e.add(e.reg(Gpr.RSP, 32), e.const(32, 12)))
          resume(e, frame)
        })
        outer32(e, frame)
      })
    })
  })
}

function outer32(e: Emitter, frame: Frame): void {
  e.if(e.eq(rplOf(e, frame.cs), e.const(32, 3)), () => {
    const [, , , rsp, ssWide] = readFrame(e, 32, 5)
    const ss = selectorOf(e, ssWide)
    e.if(all(e, inGdt(e, ss), e.eq(rplOf(e, ss), e.const(32, 3))), () => {
      const data = descriptor(e, ss)
      e.if(isFlat(e, data, FLAT_DATA, rplOf(e, ss)), () => toRing(e, frame, { rsp, ss }))
    })
  })
}

/** Access byte of a data segment that needs nothing: present, code or data, data, accessed. */
const DATA_MASK = 0x99
const DATA_READY = 0x91

/**
 * DS, ES, FS or GS in flat 32-bit code of ring 0: a data segment of the GDT, for DS and ES a flat one; null for FS and GS.
 * @returns width 1: whether it was loaded; otherwise nothing was done
 */
export function quickLoadSegment(e: Emitter, seg: number, selector: Val): Val {
  const loaded = e.variable(1, e.const(1, 0))
  const here = all(e, in32(e, SUPERVISOR), e.isZero(e.field('cpl')), without(e, e.field('rflags'), Bit.AC))
  if (seg === Seg.FS || seg === Seg.GS) {
    e.if(e.and(here, e.isZero(e.and(selector, e.const(32, 0xfffc)))), () => {
      putData(e, seg, { selector, base: e.const(32, 0), limit: e.const(32, 0), attr: e.const(32, Attr.UNUSABLE), flat: e.const(32, 0) })
      loaded.set(e.const(1, 1))
    })
  }
  e.if(e.and(here, inGdt(e, selector)), () => {
    const found = descriptor(e, selector)
    const lo = e.trunc(found, 32)
    const hi = e.trunc(e.shr(found, e.const(64, 32)), 32)
    const attr = e.and(e.shr(hi, e.const(32, 8)), e.const(32, 0xf0ff))
    const dpl = e.and(e.shr(attr, e.const(32, 5)), e.const(32, 3))
    const ready = e.eq(e.and(attr, e.const(32, DATA_MASK)), e.const(32, DATA_READY))
    const raw = e.or(e.and(hi, e.const(32, 0xf_0000)), e.and(lo, e.const(32, 0xffff)))
    const limit = e.select(e.bit(hi, 23), e.or(e.shl(raw, e.const(32, 12)), e.const(32, 0xfff)), raw)
    const low24 = e.or(e.shr(lo, e.const(32, 16)), e.shl(e.and(hi, e.const(32, 0xff)), e.const(32, 16)))
    const base = e.or(low24, e.and(hi, e.const(32, 0xff00_0000)))
    // Writable, not expand-down, over 4 GiB.
    const flat = all(e, e.eq(e.and(attr, e.const(32, 6)), e.const(32, 2)), e.eq(limit, e.const(32, -1)))
    const fits = seg === Seg.FS || seg === Seg.GS ? e.const(1, 1) : e.and(flat, e.isZero(base))
    e.if(all(e, ready, e.isZero(e.ltu(dpl, rplOf(e, selector))), fits), () => {
      putData(e, seg, { selector, base, limit, attr, flat: e.zext(flat, 32) })
      loaded.set(e.const(1, 1))
    })
  })
  return loaded.get()
}

interface SegmentValue { readonly selector: Val; readonly base: Val; readonly limit: Val; readonly attr: Val; readonly flat: Val }

function putData(e: Emitter, seg: number, value: SegmentValue): void {
  const base = e.zext(value.base, 64)
  e.setField('segSelector', value.selector, seg)
  e.setField('segBase', base, seg)
  e.setField('dataBase', base, seg)
  e.setField('segLimit', value.limit, seg)
  e.setField('segAttr', value.attr, seg)
  e.setField('segFlat', value.flat, seg)
}

/** CF PF AF ZF SF TF DF OF NT AC ID. */
const POPF_ALWAYS = 0x24_4dd5

/**
 * POPF's common case: what privilege allows to change, TF and AC staying as they are, outside virtual-8086 mode.
 * @returns width 1: whether the flags were set; otherwise nothing was done
 */
export function quickPopFlags(e: Emitter, value: Val, size: 16 | 32 | 64): Val {
  const old = e.rflags()
  const iopl = e.trunc(e.and(e.shr(old, e.const(64, 12)), e.const(64, 3)), 32)
  const cpl = e.field('cpl')
  const ring0 = e.select(e.isZero(cpl), e.const(64, 0x3000), e.const(64, 0))
  const interrupts = e.select(e.isZero(e.ltu(iopl, cpl)), e.const(64, mask(Bit.IF)), e.const(64, 0))
  const changeable = e.and(e.or(e.const(64, POPF_ALWAYS), e.or(ring0, interrupts)), e.const(64, size === 16 ? 0xffff : 0xffff_ffffn))
  const next = e.or(e.and(old, e.not(e.or(changeable, e.const(64, mask(Bit.RF))))), e.and(e.zext(value, 64), changeable))
  const same = without(e, e.xor(old, next), Bit.TF, Bit.AC)
  const open = e.and(e.bit(next, Bit.IF), e.ne(e.field('interruptWaits'), e.const(32, 0)))
  const quick = all(e, same, without(e, old, Bit.VM), e.isZero(open))
  e.if(quick, () => setFlags(e, next))
  return quick
}

/** Segment registers, far transfers, descriptor tables. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, Val } from '../emit/emitter'
import { farCallHelper, farJumpHelper } from '../helpers/system/far'
import { farReturnHelper, iretHelper } from '../helpers/system/far-return'
import { loadSegmentHelper, loadStackSegmentHelper, readSelectorHelper } from '../helpers/system/segments'
import {
  accessRightsHelper, loadLdtHelper, loadTableHelper, loadTaskRegisterHelper, segmentLimitHelper, verifyHelper,
} from '../helpers/system/tables'
import { Gpr, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import type { Helper } from '../emit/emitter'
import { quickIret32, quickIret64, quickLoadSegment } from './privilege'
import { row, type Form, type InsnRow, type Meaning } from './types'

type Wide = 16 | 32 | 64

const resize = (e: Emitter, value: Val, width: Wide): Val => (width === 16 ? e.trunc(value, 16) : e.zext(value, width))

/** A selector or status word: memory takes 16 bits, a register the operand size, zero-extended. */
function storeWord(e: Emitter, { size }: Form, value: Val): void {
  if (e.isMemory(0)) e.store(e.memOperand(0), e.trunc(value, 16))
  else e.setOperand(0, resize(e, e.and(value, e.const(32, 0xffff)), size as Wide))
}

const movFromSegment: Meaning = (e, form) => storeWord(e, form, e.call(readSelectorHelper, e.operand(1)))
/** MOV and POP to a segment register, SS with its shadow; in flat 32-bit kernels mostly without the helper. */
function loadSegment(e: Emitter, number: Val, selector: Val): void {
  const done = e.variable(1, e.const(1, 0))
  for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
    e.if(e.eq(number, e.const(32, seg)), () => done.set(quickLoadSegment(e, seg, selector)))
  }
  e.if(e.isZero(done.get()), () => { e.call(loadStackSegmentHelper, number, selector) })
}

const movToSegment: Meaning = (e) => loadSegment(e, e.operand(0), e.zext(e.operand(1, 16), 32))

const pushSegment = (seg: number): Meaning => (e, { size }) => e.push(resize(e, e.field('segSelector', seg), size as Wide))

/** RSP moves only when the load has succeeded, by the stack size the pop began with. */
const popSegment = (seg: number): Meaning => (e, { size }) => {
  const rsp = e.reg(Gpr.RSP, 64)
  const mask = e.field('stackMask')
  const value = e.load(16, e.memSeg(Seg.SS, e.and(rsp, mask)))
  const moved = e.and(e.add(rsp, e.const(64, size / 8)), mask)
  const next = e.or(e.and(rsp, e.not(mask)), moved)
  loadSegment(e, e.const(32, seg), e.zext(value, 32))
  e.setReg(Gpr.RSP, next)
}

interface FarPointer { readonly selector: Val; readonly offset: Val }

function farPointer(e: Emitter, n: number, size: Wide): FarPointer {
  const offset = e.load(size, e.memOperand(n))
  return { offset, selector: e.zext(e.load(16, e.memOperand(n, e.const(64, size / 8))), 32) }
}

const loadFarPointer = (seg: number): Meaning => (e, { size }) => {
  const { selector, offset } = farPointer(e, 1, size as Wide)
  e.call(loadSegmentHelper, e.const(32, seg), selector)
  e.setOperand(0, offset)
}

const farDirect = (helper: Helper): Meaning => (e, { size }) => {
  e.call(helper, e.zext(e.farSelector(0), 32), e.zext(e.operand(0), 64), e.const(32, size), e.nextRip())
  e.leave()
}
const farIndirect = (helper: Helper): Meaning => (e, { size }) => {
  const { selector, offset } = farPointer(e, 0, size as Wide)
  e.call(helper, selector, e.zext(offset, 64), e.const(32, size), e.nextRip())
  e.leave()
}
const farReturn: Meaning = (e, { size }) => {
  e.call(farReturnHelper, e.const(32, size), e.const(32, 0))
  e.leave()
}
const farReturnImmediate: Meaning = (e, { size }) => {
  e.call(farReturnHelper, e.const(32, size), e.zext(e.operand(0), 32))
  e.leave()
}
const iret: Meaning = (e, { size }) => {
  if (size === 64) quickIret64(e)
  if (size === 32) quickIret32(e)
  e.call(iretHelper, e.const(32, size))
  e.leave()
}

const CR4_UMIP = 11

/** User-mode instruction prevention: SGDT, SIDT, SLDT, STR and SMSW are the supervisor's. SDM vol. 3, 2.5. */
const supervisors = (meaning: Meaning): Meaning => (e, form) => {
  const user = e.ne(e.field('cpl'), e.const(32, 0))
  e.if(e.and(user, e.bit(e.field('cr4'), CR4_UMIP)), () => e.raise(Vector.GP, 0))
  meaning(e, form)
}

/** LGDT, LIDT: a 16-bit operand size loads 24 bits of base. */
const loadTable = (which: number): Meaning => (e, { size }) => {
  const limit = e.zext(e.load(16, e.memOperand(0)), 32)
  const at = e.memOperand(0, e.const(64, 2))
  const raw = size === 64 ? e.load(64, at) : e.zext(e.load(32, at), 64)
  e.call(loadTableHelper, e.const(32, which), limit, size === 16 ? e.and(raw, e.const(64, 0xff_ffff)) : raw)
}
const storeTable = (limit: 'gdtrLimit' | 'idtrLimit', base: 'gdtrBase' | 'idtrBase'): Meaning => supervisors((e, { size }) => {
  e.store(e.memOperand(0), e.trunc(e.field(limit), 16))
  const value = e.field(base)
  e.store(e.memOperand(0, e.const(64, 2)), size === 64 ? value : e.trunc(value, 32))
})

const withSelector = (helper: Helper): Meaning => (e) => { e.call(helper, e.zext(e.operand(0), 32)) }
const storeSelector = (seg: number): Meaning => supervisors((e, form) => storeWord(e, form, e.field('segSelector', seg)))
/** The manual leaves the upper bits of a register undefined; processors store all of CR0. */
const storeStatusWord = supervisors((e, { size }) => {
  const cr0 = e.field('cr0')
  if (e.isMemory(0)) e.store(e.memOperand(0), e.trunc(cr0, 16))
  else e.setOperand(0, size === 64 ? cr0 : e.trunc(cr0, size as 16 | 32))
})
const verify = (write: 0 | 1): Meaning => (e) => {
  const good = e.call(verifyHelper, e.zext(e.operand(0), 32), e.const(32, write))
  e.setFlag('zf', e.trunc(good, 1))
}
/** LAR, LSL: bit 32 of the helper's result tells success. */
const askDescriptor = (helper: Helper): Meaning => (e, { size }) => {
  const result = e.call(helper, e.zext(e.operand(1, 16), 32))
  const valid = e.bit(result, 32)
  e.if(valid, () => e.setOperand(0, resize(e, e.trunc(result, 32), size as Wide)))
  e.setFlag('zf', valid)
}

const arpl: Meaning = (e) => {
  const mode = e.and(e.field('modeKey'), e.const(32, Mode.PROTECTED | Mode.V86))
  e.if(e.ne(mode, e.const(32, Mode.PROTECTED)), () => e.raise(Vector.UD))
  const selector = e.operand(0)
  const rpl = e.and(e.operand(1), e.const(16, 3))
  const lower = e.ltu(e.and(selector, e.const(16, 3)), rpl)
  e.setOperand(0, e.select(lower, e.or(e.and(selector, e.const(16, 0xfffc)), rpl), selector))
  e.setFlag('zf', lower)
}

// None of these can be compared on the real CPU in user mode: they depend on descriptor tables of the system.
const system = { noNative: true } as const
const after = { ...system, ends: 'after' } as const
const changed = { ...system, ends: 'changed' } as const
const leaves = { ...system, ends: 'leave' } as const
const zeroFlag = { ...system, modes: 'protected', flags: { writes: 'z' } } as const
const ring0 = { privileged: true } as const

const stackRows = (name: keyof typeof Seg, pushAt: string, popAt: string | undefined, modes?: 'not64'): InsnRow[] => [
  row('PUSH', pushAt, '', '', pushSegment(Seg[name]), { ...system, size64: 'd64', modes }),
  ...(popAt === undefined ? [] : [row('POP', popAt, '', '', popSegment(Seg[name]), { ...changed, size64: 'd64', modes })]),
]

const protectedRows: readonly InsnRow[] = [
  row('SLDT', '0F 00 /0', 'Ev', 'w', storeSelector(Seg.LDTR), { ...system, modes: 'protected' }),
  row('STR', '0F 00 /1', 'Ev', 'w', storeSelector(Seg.TR), { ...system, modes: 'protected' }),
  row('LLDT', '0F 00 /2', 'Ew', 'r', withSelector(loadLdtHelper), { ...after, ...ring0, modes: 'protected' }),
  row('LTR', '0F 00 /3', 'Ew', 'r', withSelector(loadTaskRegisterHelper), { ...after, ...ring0, modes: 'protected' }),
  row('VERR', '0F 00 /4', 'Ew', 'r', verify(0), zeroFlag),
  row('VERW', '0F 00 /5', 'Ew', 'r', verify(1), zeroFlag),
  row('LAR', '0F 02 /r', 'Gv,Ew', 'rw,r', askDescriptor(accessRightsHelper), zeroFlag),
  row('LSL', '0F 03 /r', 'Gv,Ew', 'rw,r', askDescriptor(segmentLimitHelper), zeroFlag),
  row('ARPL', '63 /r', 'Ew,Gw', 'rw,r', arpl, { ...system, modes: 'not64', flags: { writes: 'z' } }),
]

export const systemSegmentRows: readonly InsnRow[] = [
  row('MOV', '8C /r', 'Ev,Sw', 'w,r', movFromSegment, system),
  row('MOV', '8E /r', 'Sw,Ew', 'w,r', movToSegment, changed),
  ...stackRows('ES', '06', '07', 'not64'), ...stackRows('CS', '0E', undefined, 'not64'),
  ...stackRows('SS', '16', '17', 'not64'), ...stackRows('DS', '1E', '1F', 'not64'),
  ...stackRows('FS', '0F A0', '0F A1'), ...stackRows('GS', '0F A8', '0F A9'),
  row('LES', 'C4 /r', 'Gv,Mp', 'w,r', loadFarPointer(Seg.ES), { ...after, modes: 'not64' }),
  row('LDS', 'C5 /r', 'Gv,Mp', 'w,r', loadFarPointer(Seg.DS), { ...after, modes: 'not64' }),
  row('LSS', '0F B2 /r', 'Gv,Mp', 'w,r', loadFarPointer(Seg.SS), after),
  row('LFS', '0F B4 /r', 'Gv,Mp', 'w,r', loadFarPointer(Seg.FS), after),
  row('LGS', '0F B5 /r', 'Gv,Mp', 'w,r', loadFarPointer(Seg.GS), after),
  row('JMPF', 'EA', 'Ap', 'r', farDirect(farJumpHelper), { ...leaves, modes: 'not64' }),
  row('CALLF', '9A', 'Ap', 'r', farDirect(farCallHelper), { ...leaves, modes: 'not64' }),
  row('JMPF', 'FF /5', 'Mp', 'r', farIndirect(farJumpHelper), leaves),
  row('CALLF', 'FF /3', 'Mp', 'r', farIndirect(farCallHelper), leaves),
  row('RETF', 'CB', '', '', farReturn, leaves),
  row('RETF', 'CA', 'Iw', 'r', farReturnImmediate, leaves),
  row('IRET', 'CF', '', '', iret, { ...leaves, flags: { writes: 'oszapc' } }),
  row('SGDT', '0F 01 /0 mod=m', 'Ms', 'w', storeTable('gdtrLimit', 'gdtrBase'), { ...system, size64: 'f64' }),
  row('SIDT', '0F 01 /1 mod=m', 'Ms', 'w', storeTable('idtrLimit', 'idtrBase'), { ...system, size64: 'f64' }),
  row('LGDT', '0F 01 /2 mod=m', 'Ms', 'r', loadTable(0), { ...system, ...ring0, size64: 'f64' }),
  row('LIDT', '0F 01 /3 mod=m', 'Ms', 'r', loadTable(1), { ...system, ...ring0, size64: 'f64' }),
  row('SMSW', '0F 01 /4', 'Ev', 'w', storeStatusWord, system),
  ...protectedRows,
]

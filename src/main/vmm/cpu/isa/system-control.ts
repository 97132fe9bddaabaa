/** Control and debug registers, MSRs, CPUID, TLB and cache instructions, random numbers. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, Val } from '../emit/emitter'
import {
  clearTaskSwitchedHelper, invalidatePageHelper, invalidatePcidHelper, loadStatusWordHelper, readControlHelper, writeControlHelper,
  xgetbvHelper, xsetbvHelper,
} from '../helpers/system/control'
import { readDebugHelper, writeDebugHelper } from '../helpers/system/debug'
import { cpuidHelper, randomHelper, readMsrHelper, readTscHelper, writeMsrHelper } from '../helpers/system/msr'
import { TlbView } from '../../mmu/tlb-layout'
import type { Helper } from '../emit/emitter'
import { Gpr, Seg } from '../state/layout'
import { row, type InsnRow, type Meaning } from './types'

const readRegister = (helper: Helper): Meaning => (e) => {
  const value = e.call(helper, e.operand(1))
  const bits = e.operand(0).width
  e.setOperand(0, bits === 64 ? value : e.trunc(value, bits))
}
/** CR0, CR2, CR3 and CR4 are as they stand in the state; page faults read CR2. The rest is the helper's, and what does not exist. */
const readControl: Meaning = (e) => {
  const number = e.operand(1)
  const value = e.variable(64, e.const(64, 0))
  const plain = [[0, 'cr0'], [2, 'cr2'], [3, 'cr3'], [4, 'cr4']] as const
  for (const [n, name] of plain) e.if(e.eq(number, e.const(32, n)), () => value.set(e.field(name)))
  const other = plain.reduce((all, [n]) => e.and(all, e.ne(number, e.const(32, n))), e.const(1, 1))
  e.if(other, () => value.set(e.call(readControlHelper, number)))
  const bits = e.operand(0).width
  e.setOperand(0, bits === 64 ? value.get() : e.trunc(value.get(), bits))
}
const writeRegister = (helper: Helper): Meaning => (e) => { e.call(helper, e.operand(0), e.zext(e.operand(1), 64)) }

/** EDX:EAX. */
function pairValue(e: Emitter): Val {
  return e.or(e.shl(e.zext(e.reg(Gpr.RDX, 32), 64), e.const(64, 32)), e.zext(e.reg(Gpr.RAX, 32), 64))
}
function setPair(e: Emitter, value: Val): void {
  e.setReg(Gpr.RAX, e.trunc(value, 32))
  e.setReg(Gpr.RDX, e.trunc(e.shr(value, e.const(64, 32)), 32))
}

const rdmsr: Meaning = (e) => setPair(e, e.call(readMsrHelper, e.reg(Gpr.RCX, 32)))
const wrmsr: Meaning = (e) => { e.call(writeMsrHelper, e.reg(Gpr.RCX, 32), pairValue(e)) }
const rdtsc: Meaning = (e) => { e.call(readTscHelper) }
const rdtscp: Meaning = (e) => {
  e.call(readTscHelper)
  e.setReg(Gpr.RCX, e.trunc(e.field('tscAux'), 32))
}
const cpuid: Meaning = (e) => { e.call(cpuidHelper, e.reg(Gpr.RAX, 32), e.reg(Gpr.RCX, 32)) }
/** There are no performance counters. */
const rdpmc: Meaning = (e) => e.raise(Vector.GP, 0)
const xgetbv: Meaning = (e) => setPair(e, e.call(xgetbvHelper, e.reg(Gpr.RCX, 32)))
const xsetbv: Meaning = (e) => { e.call(xsetbvHelper, e.reg(Gpr.RCX, 32), pairValue(e)) }
const invlpg: Meaning = (e) => { e.call(invalidatePageHelper, e.linearAddress(e.memOperand(0))) }
const invpcid: Meaning = (e) => {
  const low = e.load(64, e.memOperand(1))
  const linear = e.load(64, e.memOperand(1, e.const(64, 8)))
  e.call(invalidatePcidHelper, e.zext(e.operand(0), 64), low, linear)
}
const lmsw: Meaning = (e) => { e.call(loadStatusWordHelper, e.zext(e.operand(0), 32)) }
const clts: Meaning = (e) => { e.call(clearTaskSwitchedHelper) }
/** Caches hold nothing that memory does not: writing back and dropping them changes nothing. */
const nothing: Meaning = () => undefined

/** RDRAND, RDSEED: always succeed; every flag but CF is cleared. */
const random: Meaning = (e) => {
  const value = e.call(randomHelper)
  const bits = e.operand(0).width
  e.setOperand(0, bits === 64 ? value : e.trunc(value, bits))
  const zero = e.const(1, 0)
  e.setFlagsExplicit(e.const(8, 1), { cf: e.const(1, 1), of: zero, af: zero })
}
const rdpid: Meaning = (e) => e.setOperand(0, e.zext(e.trunc(e.field('tscAux'), 32), e.operand(0).width))

/** FS and GS bases live in two places: the architectural one and the one addressing uses. */
function setSegmentBase(e: Emitter, seg: number, value: Val): void {
  e.setField('segBase', value, seg)
  e.setField('dataBase', value, seg)
}

const swapgs: Meaning = (e) => {
  const old = e.field('segBase', Seg.GS)
  const next = e.field('kernelGsBase')
  setSegmentBase(e, Seg.GS, next)
  e.setField('kernelGsBase', old)
}

const CR4_FSGSBASE = 16
function requireFsgsbase(e: Emitter): void {
  e.if(e.isZero(e.bit(e.field('cr4'), CR4_FSGSBASE)), () => e.raise(Vector.UD))
}
const readBase = (seg: number): Meaning => (e, { size }) => {
  requireFsgsbase(e)
  const base = e.field('segBase', seg)
  e.setOperand(0, size === 64 ? base : e.trunc(base, 32))
}
const writeBase = (seg: number): Meaning => (e, { size }) => {
  requireFsgsbase(e)
  const value = e.zext(e.operand(0), 64)
  if (size === 64) {
    const high = e.const(64, 16)
    e.if(e.ne(e.sar(e.shl(value, high), high), value), () => e.raise(Vector.GP, 0))
  }
  setSegmentBase(e, seg, value)
}

const FLAG_AC = 18
const CR4_SMAP = 21

/**
 * STAC, CLAC: run around every copy between kernel and user, so they switch the TLB view in place instead of through
 * `modeChanged`.
 */
const setAc = (on: boolean): Meaning => (e) => {
  e.if(e.ne(e.field('cpl'), e.const(32, 0)), () => e.raise(Vector.UD))
  const rflags = e.field('rflags')
  const bit = e.const(64, 1 << FLAG_AC)
  const isOn = e.bit(rflags, FLAG_AC)
  e.if(on ? e.isZero(isOn) : isOn, () => {
    e.setField('rflags', on ? e.or(rflags, bit) : e.and(rflags, e.not(bit)))
    const base = e.field('viewBases', on ? TlbView.SUPERVISOR_AC : TlbView.SUPERVISOR)
    e.setField('tlbBase', e.select(e.bit(e.field('cr4'), CR4_SMAP), base, e.field('tlbBase')))
  })
}

const KVM_ENOSYS = 1000
const KVM_EPERM = 1
/** No hypercall exists; the answer is KVM's. */
const hypercall: Meaning = (e) => {
  const ring0 = e.isZero(e.field('cpl'))
  const negative = (value: number): Val => e.const(64, BigInt.asUintN(64, BigInt(-value)))
  e.setReg(Gpr.RAX, e.select(ring0, negative(KVM_ENOSYS), negative(KVM_EPERM)))
}

// System state and time cannot be compared with the real CPU in user mode.
const system = { noNative: true } as const
const after = { ...system, ends: 'after' } as const
const ring0 = { privileged: true } as const
const randomFlags = { flags: { writes: 'oszapc' } } as const

const registerRows: readonly InsnRow[] = [
  row('MOV', '0F 20 /r', 'Rd,Cd', 'w,r', readControl, { ...system, ...ring0, modes: 'not64' }),
  row('MOV', '0F 20 /r', 'Rq,Cq', 'w,r', readControl, { ...system, ...ring0, modes: 'only64' }),
  row('MOV', '0F 22 /r', 'Cd,Rd', 'w,r', writeRegister(writeControlHelper), { ...after, ...ring0, modes: 'not64' }),
  row('MOV', '0F 22 /r', 'Cq,Rq', 'w,r', writeRegister(writeControlHelper), { ...after, ...ring0, modes: 'only64' }),
  row('MOV', '0F 21 /r', 'Rd,Dd', 'w,r', readRegister(readDebugHelper), { ...system, ...ring0, modes: 'not64' }),
  row('MOV', '0F 21 /r', 'Rq,Dq', 'w,r', readRegister(readDebugHelper), { ...system, ...ring0, modes: 'only64' }),
  row('MOV', '0F 23 /r', 'Dd,Rd', 'w,r', writeRegister(writeDebugHelper), { ...after, ...ring0, modes: 'not64' }),
  row('MOV', '0F 23 /r', 'Dq,Rq', 'w,r', writeRegister(writeDebugHelper), { ...after, ...ring0, modes: 'only64' }),
]

const fsgs = { ...system, modes: 'only64', cpuid: 'fsgsbase' } as const

export const systemControlRows: readonly InsnRow[] = [
  ...registerRows,
  row('LMSW', '0F 01 /6', 'Ew', 'r', lmsw, { ...after, ...ring0 }),
  row('CLTS', '0F 06', '', '', clts, { ...after, ...ring0 }),
  row('INVLPG', '0F 01 /7 mod=m', 'M', 'n', invlpg, { ...after, ...ring0 }),
  row('INVPCID', '66 0F 38 82 /r', 'Gd,Mdq', 'r,r', invpcid, { ...after, ...ring0, modes: 'not64', cpuid: 'invpcid' }),
  row('INVPCID', '66 0F 38 82 /r', 'Gq,Mdq', 'r,r', invpcid, { ...after, ...ring0, modes: 'only64', cpuid: 'invpcid' }),
  row('INVD', '0F 08', '', '', nothing, { ...system, ...ring0 }),
  row('WBINVD', '0F 09', '', '', nothing, { ...system, ...ring0 }),
  row('RDMSR', '0F 32', '', '', rdmsr, { ...system, ...ring0 }),
  row('WRMSR', '0F 30', '', '', wrmsr, { ...after, ...ring0 }),
  row('RDTSC', '0F 31', '', '', rdtsc, system),
  row('RDTSCP', '0F 01 F9', '', '', rdtscp, { ...system, cpuid: 'rdtscp' }),
  row('RDPMC', '0F 33', '', '', rdpmc, system),
  row('CPUID', '0F A2', '', '', cpuid, system),
  row('XGETBV', 'NP 0F 01 D0', '', '', xgetbv, { ...system, cpuid: 'xsave' }),
  row('XSETBV', 'NP 0F 01 D1', '', '', xsetbv, { ...after, cpuid: 'xsave' }),
  row('RDRAND', '0F C7 /6 mod=3', 'Rv', 'w', random, { ...system, ...randomFlags, cpuid: 'rdrand' }),
  row('RDSEED', '0F C7 /7 mod=3', 'Rv', 'w', random, { ...system, ...randomFlags, cpuid: 'rdseed' }),
  row('RDPID', 'F3 0F C7 /7 mod=3', 'Rd', 'w', rdpid, { ...system, modes: 'not64', cpuid: 'rdpid' }),
  row('RDPID', 'F3 0F C7 /7 mod=3', 'Rq', 'w', rdpid, { ...system, modes: 'only64', cpuid: 'rdpid' }),
  row('SWAPGS', '0F 01 F8', '', '', swapgs, { ...system, ...ring0, modes: 'only64' }),
  row('RDFSBASE', 'F3 0F AE /0 mod=3', 'Ry', 'w', readBase(Seg.FS), fsgs),
  row('RDGSBASE', 'F3 0F AE /1 mod=3', 'Ry', 'w', readBase(Seg.GS), fsgs),
  row('WRFSBASE', 'F3 0F AE /2 mod=3', 'Ry', 'r', writeBase(Seg.FS), fsgs),
  row('WRGSBASE', 'F3 0F AE /3 mod=3', 'Ry', 'r', writeBase(Seg.GS), fsgs),
  row('CLAC', 'NP 0F 01 CA', '', '', setAc(false), { ...system, cpuid: 'smap' }),
  row('STAC', 'NP 0F 01 CB', '', '', setAc(true), { ...system, cpuid: 'smap' }),
  row('VMCALL', 'NP 0F 01 C1', '', '', hypercall, { ...system, cpuid: 'hypervisor' }),
  row('VMMCALL', 'NP 0F 01 D9', '', '', hypercall, { ...system, cpuid: 'hypervisor' }),
]

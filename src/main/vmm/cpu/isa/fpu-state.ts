/** FXSAVE, FXRSTOR, XSAVE, XRSTOR, LDMXCSR, STMXCSR, EMMS and the control instructions of the x87. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, Helper } from '../emit/emitter'
import { fxrstorHelper, fxsaveHelper, initX87Helper, loadMxcsrHelper } from '../helpers/fpu-state'
import { xrstorHelper, xsaveHelper } from '../helpers/xsave'
import { Gpr } from '../state/layout'
import { mmxBegin } from './simd'
import { row, type InsnRow, type Meaning } from './types'

const wide = (e: Emitter, size: number): ReturnType<Emitter['const']> => e.const(32, size === 64 ? 1 : 0)

const fxsave: Meaning = (e, { size }) => {
  e.requireAligned(0, 16)
  e.call(fxsaveHelper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), wide(e, size))
}
const fxrstor: Meaning = (e, { size }) => {
  e.requireAligned(0, 16)
  e.call(fxrstorHelper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), wide(e, size))
}

/** XSAVE and XRSTOR: the helper checks what comes before the alignment, and the alignment. */
const extended = (helper: Helper): Meaning => (e, { size }) => {
  const mask = e.or(e.zext(e.reg(Gpr.RAX, 32), 64), e.shl(e.zext(e.reg(Gpr.RDX, 32), 64), e.const(64, 32)))
  e.call(helper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), mask, wide(e, size))
}

const ldmxcsr: Meaning = (e) => e.call(loadMxcsrHelper, e.operand(0))
const stmxcsr: Meaning = (e) => e.setOperand(0, e.field('mxcsr'))

/** All registers empty and TOP 0; the values stay. */
const emms: Meaning = (e) => {
  mmxBegin(e)
  e.setField('ftw', e.const(32, 0))
  e.setField('fsw', e.and(e.field('fsw'), e.const(32, 0xc7ff)))
}

const fninit: Meaning = (e) => e.call(initX87Helper)
const fnclex: Meaning = (e) => e.setField('fsw', e.and(e.field('fsw'), e.const(32, 0x7f00)))
const fnstcw: Meaning = (e) => e.setOperand(0, e.trunc(e.field('fcw'), 16))
const fnstsw: Meaning = (e) => e.setOperand(0, e.trunc(e.field('fsw'), 16))
const fnstswAx: Meaning = (e) => e.setReg(Gpr.RAX, e.trunc(e.field('fsw'), 16))

/** An exception that the new control word unmasks is reported by the next waiting instruction: ES follows. */
const fldcw: Meaning = (e) => {
  mmxBegin(e)
  const control = e.zext(e.operand(0), 32)
  e.setField('fcw', e.or(e.and(control, e.const(32, 0x1f7f)), e.const(32, 0x40)))
  const status = e.field('fsw')
  const unmasked = e.and(e.and(status, e.not(control)), e.const(32, 0x3f))
  const summary = e.select(e.isZero(unmasked), e.const(32, 0), e.const(32, 0x8080))
  e.setField('fsw', e.or(e.and(status, e.const(32, 0x7f7f)), summary))
}

const CR0_MP_TS = 0xa
const CR0_NE = 0x20
/** WAIT: #NM if MP and TS, #MF for a pending unmasked exception. */
const fwait: Meaning = (e) => {
  const cr0 = e.trunc(e.field('cr0'), 32)
  e.if(e.eq(e.and(cr0, e.const(32, CR0_MP_TS)), e.const(32, CR0_MP_TS)), () => e.raise(Vector.NM))
  const pending = e.and(e.bit(e.field('fsw'), 7), e.ne(e.and(cr0, e.const(32, CR0_NE)), e.const(32, 0)))
  e.if(pending, () => e.raise(Vector.MF))
}

const x87 = { unit: 'x87', cpuid: 'x87' } as const

export const fpuStateRows: readonly InsnRow[] = [
  row('FXSAVE', 'NP 0F AE /0 mod=m', 'M', 'w', fxsave, { cpuid: 'fxsr', unit: 'x87', noNative: true }),
  row('FXRSTOR', 'NP 0F AE /1 mod=m', 'M', 'r', fxrstor, { cpuid: 'fxsr', unit: 'x87', noNative: true }),
  // The image holds pointers and, where the CPU keeps states apart, in-use bits that are its own business.
  row('XSAVE', 'NP 0F AE /4 mod=m', 'M', 'w', extended(xsaveHelper), { cpuid: 'xsave', noNative: true }),
  row('XRSTOR', 'NP 0F AE /5 mod=m', 'M', 'r', extended(xrstorHelper), { cpuid: 'xsave', noNative: true }),
  row('LDMXCSR', 'NP 0F AE /2 mod=m', 'Md', 'r', ldmxcsr, { cpuid: 'sse', unit: 'sse' }),
  row('STMXCSR', 'NP 0F AE /3 mod=m', 'Md', 'w', stmxcsr, { cpuid: 'sse', unit: 'sse' }),
  row('EMMS', 'NP 0F 77', '', '', emms, { cpuid: 'mmx', unit: 'mmx' }),
  row('FNINIT', 'DB E3', '', '', fninit, x87),
  row('FNCLEX', 'DB E2', '', '', fnclex, x87),
  row('FLDCW', 'D9 /5 mod=m', 'Mw', 'r', fldcw, x87),
  row('FNSTCW', 'D9 /7 mod=m', 'Mw', 'w', fnstcw, x87),
  row('FNSTSW', 'DD /7 mod=m', 'Mw', 'w', fnstsw, x87),
  row('FNSTSW', 'DF E0', '', '', fnstswAx, x87),
  row('FWAIT', '9B', '', '', fwait),
]

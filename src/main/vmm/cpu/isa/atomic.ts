/** CMPXCHG, XADD, CMPXCHG8B, CMPXCHG16B. SDM vol. 2. */
import { Gpr } from '../state/layout'
import { row, type InsnRow, type Meaning } from './types'

/** The destination is always written, with its old value where the comparison fails. */
const cmpxchg: Meaning = (e) => {
  const old = e.operand(0)
  const w = old.width
  const expected = e.reg(Gpr.RAX, w)
  const equal = e.eq(expected, old)
  e.setOperand(0, e.select(equal, e.operand(1), old))
  e.if(e.isZero(equal), () => e.setReg(Gpr.RAX, old))
  e.setFlags('sub', expected, old, e.sub(expected, old))
}

const xadd: Meaning = (e) => {
  const a = e.operand(0)
  const b = e.operand(1)
  const r = e.add(a, b)
  // The source register is written first: with equal operands the sum stays.
  e.setOperand(1, a)
  e.setOperand(0, r)
  e.setFlags('add', a, b, r)
}

const cmpxchg8b: Meaning = (e) => {
  let equal = e.const(1, 0)
  const expected = e.or(e.zext(e.reg(Gpr.RAX, 32), 64), e.shl(e.zext(e.reg(Gpr.RDX, 32), 64), e.const(64, 32)))
  const wanted = e.or(e.zext(e.reg(Gpr.RBX, 32), 64), e.shl(e.zext(e.reg(Gpr.RCX, 32), 64), e.const(64, 32)))
  let seen = expected
  e.update(64, e.memOperand(0), (old) => {
    seen = old
    equal = e.eq(old, expected)
    return e.select(equal, wanted, old)
  })
  e.if(e.isZero(equal), () => {
    e.setReg(Gpr.RAX, e.trunc(seen, 32))
    e.setReg(Gpr.RDX, e.trunc(e.shr(seen, e.const(64, 32)), 32))
  })
  e.setFlag('zf', equal)
}

const cmpxchg16b: Meaning = (e) => {
  e.requireAligned(0, 16)
  const at = e.memOperand(0)
  const high = e.memOperand(0, e.const(64, 8))
  let equal = e.const(1, 0)
  let low = e.const(64, 0)
  // Aligned to 16 bytes, both halves lie in one page: what holds for one holds for the other.
  e.update(64, at, (oldLow) => {
    low = oldLow
    const oldHigh = e.load(64, high)
    equal = e.and(e.eq(oldLow, e.reg(Gpr.RAX, 64)), e.eq(oldHigh, e.reg(Gpr.RDX, 64)))
    e.store(high, e.select(equal, e.reg(Gpr.RCX, 64), oldHigh))
    const result = e.select(equal, e.reg(Gpr.RBX, 64), oldLow)
    e.setReg(Gpr.RDX, e.select(equal, e.reg(Gpr.RDX, 64), oldHigh))
    return result
  })
  e.if(e.isZero(equal), () => e.setReg(Gpr.RAX, low))
  e.setFlag('zf', equal)
}

const ARITH = { writes: 'oszapc' }

export const atomicRows: readonly InsnRow[] = [
  row('CMPXCHG', '0F B0 /r', 'Eb,Gb', 'rw,r', cmpxchg, { lock: true, flags: ARITH }),
  row('CMPXCHG', '0F B1 /r', 'Ev,Gv', 'rw,r', cmpxchg, { lock: true, flags: ARITH }),
  row('XADD', '0F C0 /r', 'Eb,Gb', 'rw,rw', xadd, { lock: true, flags: ARITH }),
  row('XADD', '0F C1 /r', 'Ev,Gv', 'rw,rw', xadd, { lock: true, flags: ARITH }),
  row('CMPXCHG8B', 'W0 0F C7 /1', 'Mq', 'rw', cmpxchg8b, { lock: true, flags: { writes: 'z' } }),
  row('CMPXCHG16B', 'W1 0F C7 /1', 'Mdq', 'rw', cmpxchg16b, { lock: true, flags: { writes: 'z' }, cpuid: 'cx16', modes: 'only64', size: 64 }),
]

/** Bit tests, scans and counts; CRC32. SDM vol. 2. */
import type { Emitter, Val } from '../emit/emitter'
import { crc32Helper } from '../helpers/crc32'
import { row, type InsnRow, type Meaning } from './types'

type Change = (e: Emitter, value: Val, mask: Val) => Val
type Wide = 16 | 32 | 64

const CHANGES: Readonly<Record<'bt' | 'bts' | 'btr' | 'btc', Change | undefined>> = {
  bt: undefined,
  bts: (e, v, mask) => e.or(v, mask),
  btr: (e, v, mask) => e.and(v, e.not(mask)),
  btc: (e, v, mask) => e.xor(v, mask),
}

const maskFor = (e: Emitter, index: Val): Val => e.shl(e.const(index.width, 1), index)
const testBit = (e: Emitter, value: Val, index: Val): Val => e.trunc(e.shr(value, index), 1)

/** Register index into a register, or immediate index: taken modulo the operand size. */
const bitOperand = (change: Change | undefined): Meaning => (e, { size }) => {
  const width = size as Wide
  const index = e.and(e.operand(1, width), e.const(width, width - 1))
  const value = e.operand(0)
  const bit = testBit(e, value, index)
  if (change) e.setOperand(0, change(e, value, maskFor(e, index)))
  e.setFlag('cf', bit)
}

/** Immediate index: the operand is a byte, whatever the operand size. */
const bitImmediate = (change: Change | undefined): Meaning => (e, { size }) => {
  const width = size as Wide
  const index = e.and(e.zext(e.operand(1, 8), width), e.const(width, width - 1))
  const value = e.operand(0)
  const bit = testBit(e, value, index)
  if (change) e.setOperand(0, change(e, value, maskFor(e, index)))
  e.setFlag('cf', bit)
}

/** Register index into memory: a bit string that reaches beyond the operand, in both directions. */
const bitString = (change: Change | undefined): Meaning => (e, form) => {
  if (form.rm !== 'mem') return bitOperand(change)(e, form)
  const width = form.size as Wide
  const full = e.operand(1, width)
  const index = e.and(full, e.const(width, width - 1))
  const shift = width === 64 ? 6 : width === 32 ? 5 : 4
  const unit = e.sar(e.sext(full, 64), e.const(64, shift))
  const at = e.memOperand(0, e.shl(unit, e.const(64, shift - 3)))
  if (!change) return e.setFlag('cf', testBit(e, e.load(width, at), index))
  let bit: Val | undefined
  e.update(width, at, (old) => {
    bit = testBit(e, old, index)
    return change(e, old, maskFor(e, index))
  })
  e.setFlag('cf', bit as Val)
}

/** ZF tells a zero source; the destination is then left alone, as processors do. */
const scan = (op: 'ctz' | 'clz'): Meaning => (e) => {
  const source = e.operand(1)
  const w = source.width
  const zero = e.isZero(source)
  const count = op === 'ctz' ? e.unary('ctz', source) : e.sub(e.const(w, w - 1), e.unary('clz', source))
  e.if(e.isZero(zero), () => e.setOperand(0, count))
  e.setFlag('zf', zero)
}

const popcnt: Meaning = (e) => {
  const source = e.operand(1)
  const count = e.unary('popcnt', source)
  e.setOperand(0, count)
  // Every flag but ZF is cleared, PF too: no result value has ZF without PF, so the flags are set as bits.
  e.setArithFlags(e.select(e.isZero(source), e.const(64, 0x40), e.const(64, 0)))
}

const countZeros = (op: 'clz' | 'ctz'): Meaning => (e) => {
  const source = e.operand(1)
  const count = e.unary(op, source)
  e.setOperand(0, count)
  e.setFlag('cf', e.isZero(source))
  e.setFlag('zf', e.isZero(count))
}

const crc32: Meaning = (e, { size }) => {
  const source = e.operand(1)
  const crc = e.call(crc32Helper, e.operand(0, 32), e.zext(source, 64), e.const(32, source.width))
  e.setOperand(0, e.zext(crc, size === 64 ? 64 : 32))
}

const CARRY_ONLY = { writes: 'c', undefined: 'osap' }
const ZERO_ONLY = { writes: 'z', undefined: 'cosap' }

function bitTestRows(name: 'bt' | 'bts' | 'btr' | 'btc', opcode: string, digit: number): InsnRow[] {
  const change = CHANGES[name]
  const access = change ? 'rw,r' : 'r,r'
  const options = { flags: CARRY_ONLY, lock: change !== undefined }
  return [
    row(name.toUpperCase(), `0F ${opcode} /r`, 'Ev,Gv', access, bitString(change), options),
    row(name.toUpperCase(), `0F BA /${digit}`, 'Ev,Ib', access, bitImmediate(change), options),
  ]
}

export const bitRows: readonly InsnRow[] = [
  ...bitTestRows('bt', 'A3', 4), ...bitTestRows('bts', 'AB', 5), ...bitTestRows('btr', 'B3', 6), ...bitTestRows('btc', 'BB', 7),
  row('BSF', '0F BC /r', 'Gv,Ev', 'rw,r', scan('ctz'), { flags: ZERO_ONLY }),
  row('BSR', '0F BD /r', 'Gv,Ev', 'rw,r', scan('clz'), { flags: ZERO_ONLY }),
  row('POPCNT', 'F3 0F B8 /r', 'Gv,Ev', 'w,r', popcnt, { cpuid: 'popcnt', flags: { writes: 'oszapc' } }),
  row('LZCNT', 'F3 0F BD /r', 'Gv,Ev', 'w,r', countZeros('clz'), { cpuid: 'lzcnt', flags: { writes: 'zc', undefined: 'osap' } }),
  row('TZCNT', 'F3 0F BC /r', 'Gv,Ev', 'w,r', countZeros('ctz'), { cpuid: 'bmi1', flags: { writes: 'zc', undefined: 'osap' } }),
  row('CRC32', 'F2 0F 38 F0 /r', 'Gy,Eb', 'rw,r', crc32, { cpuid: 'sse4.2' }),
  row('CRC32', 'F2 0F 38 F1 /r', 'Gv,Ev', 'rw,r', crc32, { cpuid: 'sse4.2' }),
]

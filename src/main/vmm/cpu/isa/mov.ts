/** Data transfer: MOV, MOVZX, MOVSX, LEA, XCHG, BSWAP, MOVBE, CMOVcc, SETcc, XLAT. SDM vol. 2. */
import { CONDITIONS, type Condition } from '../emit/emitter'
import { Gpr } from '../state/layout'
import { row, type InsnRow, type Meaning } from './types'

const mov: Meaning = (e) => e.setOperand(0, e.operand(1))
const zeroExtend: Meaning = (e, { size }) => e.setOperand(0, e.zext(e.operand(1), size as 16 | 32 | 64))
const signExtend: Meaning = (e, { size }) => e.setOperand(0, e.sext(e.operand(1), size as 16 | 32 | 64))
const lea: Meaning = (e, { size }) => e.setOperand(0, e.trunc(e.effectiveAddress(1), size as 16 | 32 | 64))

/** The memory operand is write-checked when it is read, so neither write can fault. */
const xchg: Meaning = (e) => {
  const a = e.operand(0)
  const b = e.operand(1)
  e.setOperand(0, b)
  e.setOperand(1, a)
}

/** BSWAP of a 16-bit register is undefined in the manual; processors give zero. */
const bswap: Meaning = (e, { size }) => e.setOperand(0, size === 16 ? e.const(16, 0) : e.unary('bswap', e.operand(0)))
const movbe: Meaning = (e) => e.setOperand(0, e.unary('bswap', e.operand(1)))

/** The source is read, and a 32-bit destination cleared above, whether or not the condition holds. */
const cmov = (cc: Condition): Meaning => (e) => {
  const source = e.operand(1)
  e.setOperand(0, e.select(e.condition(cc), source, e.operand(0)))
}
const set = (cc: Condition): Meaning => (e) => e.setOperand(0, e.zext(e.condition(cc), 8))

const xlat: Meaning = (e, { addressSize }) => {
  const sum = e.add(e.reg(Gpr.RBX, addressSize), e.zext(e.reg(Gpr.RAX, 8), addressSize))
  e.setReg(Gpr.RAX, e.load(8, e.memData(e.zext(sum, 64))))
}

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')

/** Flags a condition reads. */
export const CONDITION_READS: Readonly<Record<Condition, string>> = {
  o: 'o', no: 'o', b: 'c', ae: 'c', e: 'z', ne: 'z', be: 'cz', a: 'cz', s: 's', ns: 's', p: 'p', np: 'p',
  l: 'so', ge: 'so', le: 'zso', g: 'zso',
}

function conditionRows(cc: Condition, i: number): InsnRow[] {
  const flags = { reads: CONDITION_READS[cc] }
  return [
    row(`CMOV${cc.toUpperCase()}`, `0F ${hex(0x40 + i)} /r`, 'Gv,Ev', 'rw,r', cmov(cc), { flags }),
    row(`SET${cc.toUpperCase()}`, `0F ${hex(0x90 + i)} /r`, 'Eb', 'w', set(cc), { flags }),
  ]
}

export const movRows: readonly InsnRow[] = [
  row('MOV', '88 /r', 'Eb,Gb', 'w,r', mov),
  row('MOV', '89 /r', 'Ev,Gv', 'w,r', mov),
  row('MOV', '8A /r', 'Gb,Eb', 'w,r', mov),
  row('MOV', '8B /r', 'Gv,Ev', 'w,r', mov),
  row('MOV', 'A0', 'AL,Ob', 'w,r', mov),
  row('MOV', 'A1', 'rAX,Ov', 'w,r', mov),
  row('MOV', 'A2', 'Ob,AL', 'w,r', mov),
  row('MOV', 'A3', 'Ov,rAX', 'w,r', mov),
  row('MOV', 'B0+r', 'Zb,Ib', 'w,r', mov),
  row('MOV', 'B8+r', 'Zv,Iv', 'w,r', mov),
  row('MOV', 'C6 /0', 'Eb,Ib', 'w,r', mov),
  row('MOV', 'C7 /0', 'Ev,Iz', 'w,r', mov),
  row('MOVZX', '0F B6 /r', 'Gv,Eb', 'w,r', zeroExtend),
  row('MOVZX', '0F B7 /r', 'Gv,Ew', 'w,r', zeroExtend),
  row('MOVSX', '0F BE /r', 'Gv,Eb', 'w,r', signExtend),
  row('MOVSX', '0F BF /r', 'Gv,Ew', 'w,r', signExtend),
  row('MOVSXD', '63 /r', 'Gv,Ez', 'w,r', signExtend, { modes: 'only64' }),
  row('LEA', '8D /r', 'Gv,M', 'w,n', lea),
  row('XCHG', '86 /r', 'Eb,Gb', 'rw,rw', xchg, { lock: true }),
  row('XCHG', '87 /r', 'Ev,Gv', 'rw,rw', xchg, { lock: true }),
  row('XCHG', '90+r', 'Zv,rAX', 'rw,rw', xchg),
  row('BSWAP', '0F C8+r', 'Zv', 'rw', bswap),
  row('MOVBE', 'NFx 0F 38 F0 /r', 'Gv,Mv', 'w,r', movbe, { cpuid: 'movbe' }),
  row('MOVBE', 'NFx 0F 38 F1 /r', 'Mv,Gv', 'w,r', movbe, { cpuid: 'movbe' }),
  row('MOVNTI', 'NP 0F C3 /r', 'My,Gy', 'w,r', mov, { cpuid: 'sse2' }),
  row('XLAT', 'D7', '', '', xlat, { addressSized: true }),
  ...CONDITIONS.flatMap(conditionRows),
]

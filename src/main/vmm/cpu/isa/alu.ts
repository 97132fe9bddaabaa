/** ADD, ADC, SUB, SBB, CMP, AND, OR, XOR, TEST: SDM vol. 2. The eight classic groups share one encoding pattern. */
import type { Emitter, Val } from '../emit/emitter'
import { row, type InsnRow, type Meaning } from './types'

type Compute = (e: Emitter, a: Val, b: Val) => Val

const carryIn = (e: Emitter, like: Val): Val => e.zext(e.flag('cf'), like.width)

const add: Compute = (e, a, b) => { const r = e.add(a, b); e.setFlags('add', a, b, r); return r }
const sub: Compute = (e, a, b) => { const r = e.sub(a, b); e.setFlags('sub', a, b, r); return r }
const adc: Compute = (e, a, b) => { const r = e.add(e.add(a, b), carryIn(e, a)); e.setFlags('add', a, b, r); return r }
const sbb: Compute = (e, a, b) => { const r = e.sub(e.sub(a, b), carryIn(e, a)); e.setFlags('sub', a, b, r); return r }
const and: Compute = (e, a, b) => { const r = e.and(a, b); e.setFlags('logic', a, b, r); return r }
const or: Compute = (e, a, b) => { const r = e.or(a, b); e.setFlags('logic', a, b, r); return r }
const xor: Compute = (e, a, b) => { const r = e.xor(a, b); e.setFlags('logic', a, b, r); return r }

// A memory destination must be stored before flags change: a store may still fault only if `rw` was not checked at the
// read, and consumers check it there, so the order below is safe.
const twoOperand = (compute: Compute): Meaning => (e) => { e.setOperand(0, compute(e, e.operand(0), e.operand(1))) }
const compareOnly = (compute: Compute): Meaning => (e) => { compute(e, e.operand(0), e.operand(1)) }

const ARITH = { writes: 'oszapc' }
const ARITH_CARRY = { reads: 'c', writes: 'oszapc' }
const LOGIC = { writes: 'oszapc', undefined: 'a' }

interface Group { name: string; index: number; meaning: Meaning; access: string; flags: InsnRow['flags']; lock: boolean }

const group = (name: string, index: number, compute: Compute, flags: InsnRow['flags']): Group =>
  ({ name, index, meaning: twoOperand(compute), access: 'rw,r', flags, lock: true })

const GROUPS: readonly Group[] = [
  group('ADD', 0, add, ARITH), group('OR', 1, or, LOGIC), group('ADC', 2, adc, ARITH_CARRY), group('SBB', 3, sbb, ARITH_CARRY),
  group('AND', 4, and, LOGIC), group('SUB', 5, sub, ARITH), group('XOR', 6, xor, LOGIC),
  { name: 'CMP', index: 7, meaning: compareOnly(sub), access: 'r,r', flags: ARITH, lock: false },
]

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')

function groupRows({ name, index, meaning, access, flags, lock }: Group): InsnRow[] {
  const at = index * 8
  return [
    row(name, `${hex(at)} /r`, 'Eb,Gb', access, meaning, { flags, lock }),
    row(name, `${hex(at + 1)} /r`, 'Ev,Gv', access, meaning, { flags, lock }),
    row(name, `${hex(at + 2)} /r`, 'Gb,Eb', access, meaning, { flags }),
    row(name, `${hex(at + 3)} /r`, 'Gv,Ev', access, meaning, { flags }),
    row(name, hex(at + 4), 'AL,Ib', access, meaning, { flags }),
    row(name, hex(at + 5), 'rAX,Iz', access, meaning, { flags }),
    row(name, `80 /${index}`, 'Eb,Ib', access, meaning, { flags, lock }),
    row(name, `81 /${index}`, 'Ev,Iz', access, meaning, { flags, lock }),
    row(name, `82 /${index}`, 'Eb,Ib', access, meaning, { flags, lock, modes: 'not64' }),
    row(name, `83 /${index}`, 'Ev,Ibs', access, meaning, { flags, lock }),
  ]
}

const test = compareOnly(and)

export const aluRows: readonly InsnRow[] = [
  ...GROUPS.flatMap(groupRows),
  row('TEST', '84 /r', 'Eb,Gb', 'r,r', test, { flags: LOGIC }),
  row('TEST', '85 /r', 'Ev,Gv', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'A8', 'AL,Ib', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'A9', 'rAX,Iz', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'F6 /0', 'Eb,Ib', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'F6 /1', 'Eb,Ib', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'F7 /0', 'Ev,Iz', 'r,r', test, { flags: LOGIC }),
  row('TEST', 'F7 /1', 'Ev,Iz', 'r,r', test, { flags: LOGIC }),
]

import { describe, expect, it } from 'vitest'
import { formKey, formsOf } from '../isa/forms'
import { isaRows } from '../isa'
import { row, type Meaning } from '../isa/types'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { createDecoder } from './decode'
import type { DecodedInsn } from './types'

const none: Meaning = () => {}
const LONG = Mode.PROTECTED | Mode.LONG | Mode.CODE64
const P32 = Mode.PROTECTED | Mode.CODE32
const P16 = Mode.PROTECTED

const rows = [
  row('ADD', '00 /r', 'Eb,Gb', 'rw,r', none, { lock: true }),
  row('ADD', '01 /r', 'Ev,Gv', 'rw,r', none, { lock: true }),
  row('ADD', '05', 'rAX,Iz', 'rw,r', none),
  row('INC', '40 +r', 'Zv', 'rw', none, { modes: 'not64' }),
  row('PUSH', '50 +r', 'Zv', 'r', none, { size64: 'd64' }),
  row('BOUND', '62 /r', 'Gv,Ma', 'r,r', none, { modes: 'not64' }),
  row('PUSH', '6A', 'Ibs', 'r', none, { size64: 'd64' }),
  row('ADD', '83 /0', 'Ev,Ibs', 'rw,r', none, { lock: true }),
  row('MOV', '8C /r', 'Ev,Sw', 'w,r', none),
  row('MOV', '8E /r', 'Sw,Ew', 'w,r', none),
  row('NOP', '90', '', '', none),
  row('XCHG', '90 +r', 'Zv,rAX', 'rw,rw', none),
  row('PAUSE', 'F3 90', '', '', none),
  row('MOV', 'A1', 'rAX,Ov', 'w,r', none),
  row('MOVSB', 'A4', '', '', none, { size: 8, rep: 'rep', addressSized: true }),
  row('CMPSB', 'A6', '', '', none, { size: 8, rep: 'repz', addressSized: true }),
  row('MOV', 'B8 +r', 'Zv,Iv', 'w,r', none),
  row('LES', 'C4 /r', 'Gv,Mp', 'w,r', none, { modes: 'not64' }),
  row('CALL', 'E8', 'Jz', 'r', none, { size64: 'f64', ends: 'branch' }),
  row('JMPF', 'EA', 'Ap', 'r', none, { modes: 'not64', ends: 'leave' }),
  row('LGDT', '0F 01 /2', 'Ms', 'r', none, { size64: 'f64' }),
  row('XGETBV', '0F 01 D0', '', '', none, { size: 32 }),
  row('MOVUPS', 'NP 0F 10 /r', 'Vps,Wps', 'w,r', none, { cpuid: 'sse' }),
  row('MOVSS', 'F3 0F 10 /r', 'Vss,Wss', 'w,r', none, { cpuid: 'sse' }),
  row('MOVUPD', '66 0F 10 /r', 'Vpd,Wpd', 'w,r', none, { cpuid: 'sse2' }),
  row('MOV', '0F 20 /r', 'Ry,Cy', 'w,r', none, { size64: 'f64' }),
  row('MOVD', '66 0F 6E /r W0', 'Vx,Ed', 'w,r', none),
  row('MOVQ', '66 0F 6E /r W1', 'Vx,Eq', 'w,r', none),
  row('BSR', '0F BD /r', 'Gv,Ev', 'w,r', none),
  row('LZCNT', 'F3 0F BD /r', 'Gv,Ev', 'w,r', none, { cpuid: 'lzcnt' }),
  row('MOVBE', 'NFx 0F 38 F0 /r', 'Gv,Mv', 'w,r', none),
  row('CRC32', 'F2 0F 38 F0 /r', 'Gy,Eb', 'rw,r', none),
  row('LLDT', '0F 00 /2', 'Ew', 'r', none, { modes: 'protected' }),
  row('FADD', 'D8 C0 +r', '', '', none, { unit: 'x87' }),
  row('FADD', 'D8 /0 mod=m', 'Md', 'r', none, { unit: 'x87' }),
]

const decode = createDecoder(rows, (feature) => feature !== 'lzcnt')

function parse(bytes: string): Uint8Array {
  return Uint8Array.from(bytes.split(' ').map((b) => parseInt(b, 16)))
}

function insn(bytes: string, mode = LONG): DecodedInsn {
  const raw = parse(bytes)
  const result = decode(raw, 0, raw.length, mode)
  if (!result.ok) throw new Error(`${bytes}: ${result.kind}`)
  expect(result.insn.length).toBe(raw.length)
  expect(formsOf(result.insn.row)).toContain(result.insn.form)
  return result.insn
}

function failure(bytes: string, mode = LONG, limit?: number): unknown {
  const raw = parse(bytes)
  const result = decode(raw, 0, limit ?? raw.length, mode)
  return result.ok ? 'ok' : result.kind === 'undefined' ? result.name : result.kind
}

describe('operand and address sizes', () => {
  it('follow mode, 66, 67 and REX.W', () => {
    expect(insn('01 D8').form.size).toBe(32)
    expect(insn('66 01 D8').form.size).toBe(16)
    expect(insn('66 48 01 D8').form.size).toBe(64)
    expect(insn('01 D8', P16).form.size).toBe(16)
    expect(insn('66 01 D8', P16).form.size).toBe(32)
    expect(insn('66 01 D8', P32).form.size).toBe(16)
  })
  it('d64 and f64 rows have no 32-bit form in 64-bit mode', () => {
    expect(insn('50').form.size).toBe(64)
    expect(insn('66 50').form.size).toBe(16)
    expect(insn('50', P32).form.size).toBe(32)
    expect(insn('66 E8 01 00 00 00').form.size).toBe(64)
    expect(insn('66 E8 01 00', P32).operands).toEqual([{ kind: 'rel', displacement: 1n }])
  })
  it('string rows have forms by address size and REP', () => {
    expect(insn('F3 A4').form).toMatchObject({ addressSize: 64, rep: 'rep', size: 8 })
    expect(insn('F2 67 A4').form).toMatchObject({ addressSize: 32, rep: 'rep' })
    expect(insn('F2 A6', P16).form).toMatchObject({ addressSize: 16, rep: 'repne' })
    expect(insn('64 A4').dataSegment).toBe(Seg.FS)
    expect(insn('2E A4').dataSegment).toBe(Seg.DS)
  })
})

describe('immediates', () => {
  it('are extended as the code says', () => {
    expect(insn('48 83 C0 FF').operands[1]).toEqual({ kind: 'imm', value: 0xffff_ffff_ffff_ffffn, width: 64 })
    expect(insn('66 83 C0 80').operands[1]).toEqual({ kind: 'imm', value: 0xff80n, width: 16 })
    expect(insn('48 05 00 00 00 80').operands[1]).toEqual({ kind: 'imm', value: 0xffff_ffff_8000_0000n, width: 64 })
    expect(insn('48 B8 01 02 03 04 05 06 07 08').operands[1]).toEqual({ kind: 'imm', value: 0x0807060504030201n, width: 64 })
    expect(insn('6A FE').operands[0]).toEqual({ kind: 'imm', value: 0xffff_ffff_ffff_fffen, width: 64 })
    expect(insn('EA 78 56 34 12 CD AB', P32).operands[0]).toEqual({ kind: 'far', offset: 0x12345678n, selector: 0xabcd })
  })
})

describe('registers', () => {
  it('high bytes exist only without REX', () => {
    expect(insn('00 E5').operands).toEqual([
      { kind: 'gpr', index: 1, width: 8, high8: true }, { kind: 'gpr', index: 0, width: 8, high8: true }])
    expect(insn('40 00 E5').operands).toEqual([
      { kind: 'gpr', index: 5, width: 8, high8: false }, { kind: 'gpr', index: 4, width: 8, high8: false }])
  })
  it('XCHG R8 is not NOP, PAUSE is', () => {
    expect(insn('90').row.mnemonic).toBe('NOP')
    expect(insn('F3 90').row.mnemonic).toBe('PAUSE')
    expect(insn('49 90').operands[0]).toMatchObject({ index: 8, width: 64 })
    expect(insn('F2 90').row.mnemonic).toBe('NOP')
    expect(insn('91', P32).row.mnemonic).toBe('XCHG')
  })
  it('MOV CR ignores mod', () => {
    expect(insn('0F 20 00').operands).toEqual([{ kind: 'gpr', index: 0, width: 64, high8: false }, { kind: 'control', index: 0 }])
    expect(insn('44 0F 20 C0').operands[1]).toEqual({ kind: 'control', index: 8 })
  })
  it('segments 6, 7 and loading CS are undefined', () => {
    expect(failure('8E C8')).toBe('8E /1 C8')
    expect(failure('8C F0')).toBe('8C /6 F0')
    expect(insn('8C C8').operands[1]).toEqual({ kind: 'segment', index: Seg.CS })
  })
})

describe('memory operands', () => {
  const memory = (bytes: string, mode = LONG): unknown => insn(bytes, mode).operands[0]
  const mem = { kind: 'mem', bytes: 4, index: -1, scale: 0, displacement: 0n, ripRelative: false }
  it('SIB, displacement, RIP-relative', () => {
    expect(memory('01 44 8B F0')).toEqual({ ...mem, segment: Seg.DS, base: 3, index: 1, scale: 2, displacement: -16n, addressSize: 64 })
    expect(memory('01 05 10 00 00 00'))
      .toEqual({ ...mem, segment: Seg.DS, base: -1, displacement: 16n, ripRelative: true, addressSize: 64 })
    expect(memory('01 04 25 10 00 00 00')).toEqual({ ...mem, segment: Seg.DS, base: -1, displacement: 16n, addressSize: 64 })
    expect(memory('42 01 04 24')).toMatchObject({ base: 4, index: 12, segment: Seg.SS })
    expect(memory('41 01 45 00')).toMatchObject({ base: 13, segment: Seg.DS })
    expect(memory('01 45 00')).toMatchObject({ base: 5, segment: Seg.SS })
  })
  it('16-bit forms', () => {
    expect(memory('01 02', P16)).toMatchObject({ base: 5, index: 6, segment: Seg.SS, addressSize: 16, bytes: 2 })
    expect(memory('01 06 34 92', P16)).toMatchObject({ base: -1, index: -1, segment: Seg.DS, displacement: -0x6dccn })
    expect(memory('01 46 80', P16)).toMatchObject({ base: 5, index: -1, segment: Seg.SS, displacement: -128n })
    expect(memory('01 07', P16)).toMatchObject({ base: 3, index: -1, segment: Seg.DS })
  })
  it('segment overrides: in 64-bit mode only FS and GS', () => {
    expect(memory('2E 01 45 00')).toMatchObject({ segment: Seg.SS })
    expect(memory('65 01 45 00')).toMatchObject({ segment: Seg.GS })
    expect(memory('2E 01 45 00', P32)).toMatchObject({ segment: Seg.CS })
  })
  it('moffs and pairs', () => {
    expect(insn('A1 01 02 03 04 05 06 07 88').operands[1]).toMatchObject({ displacement: 0x8807060504030201n, base: -1 })
    expect(insn('67 A1 01 02', P32).operands[1]).toMatchObject({ displacement: 0x201n, addressSize: 16 })
    expect(insn('62 00', P32).operands[1]).toMatchObject({ bytes: 8 })
    expect(insn('C4 00', P32).operands[1]).toMatchObject({ bytes: 6 })
    expect(insn('0F 01 10').operands[0]).toMatchObject({ bytes: 10 })
  })
})

describe('choice of the row', () => {
  it('by mandatory prefix', () => {
    expect(insn('0F 10 C1').row.mnemonic).toBe('MOVUPS')
    expect(insn('66 0F 10 C1').row.mnemonic).toBe('MOVUPD')
    expect(insn('66 F3 0F 10 C1').row.mnemonic).toBe('MOVSS')
    expect(failure('F2 0F 10 C1')).toBe('F2 0F 10')
  })
  it('NFx rows take 66 as operand size and leave F2 and F3 to others', () => {
    expect(insn('66 0F 38 F0 00').form.size).toBe(16)
    expect(insn('F2 0F 38 F0 C0').row.mnemonic).toBe('CRC32')
    expect(failure('F3 0F 38 F0 00')).toBe('F3 0F 38 F0')
  })
  it('by REX.W, fixed bytes, mod, mode and feature', () => {
    expect(insn('66 0F 6E C0').row.mnemonic).toBe('MOVD')
    expect(insn('66 48 0F 6E C0').row.mnemonic).toBe('MOVQ')
    expect(insn('0F 01 D0').row.mnemonic).toBe('XGETBV')
    expect(insn('F3 0F BD C0').row.mnemonic).toBe('BSR')
    expect(insn('D8 C3').form.rm).toBe('none')
    expect(insn('D8 03').form.rm).toBe('mem')
    expect(insn('0F 00 D0', P32).row.mnemonic).toBe('LLDT')
    expect(failure('0F 00 D0', 0)).toBe('0F 00')
    expect(failure('0F 00 D0', Mode.PROTECTED | Mode.V86)).toBe('0F 00')
  })
  it('REX counts only directly before the opcode', () => {
    expect(insn('48 66 01 D8').form.size).toBe(16)
    expect(insn('48 90', P32 & 0 || LONG).row.mnemonic).toBe('NOP')
  })
  it('VEX and EVEX bytes are undefined', () => {
    expect(failure('C5 F8 77')).toBe('C5')
    expect(failure('C4 C0', P32)).toBe('C4 /0 C0')
    expect(failure('62 F1', P32)).toBe('62 /6 F1')
  })
})

describe('limits', () => {
  it('LOCK needs a writable memory destination of a row that allows it', () => {
    expect(insn('F0 01 00').lock).toBe(true)
    expect(failure('F0 01 C0')).toBe('bad-lock')
    expect(failure('F0 90')).toBe('bad-lock')
  })
  it('15 bytes', () => {
    const prefixes = (n: number): string => Array(n).fill('66').join(' ')
    expect(insn(`${prefixes(13)} 01 D8`).form.size).toBe(16)
    expect(failure(`${prefixes(14)} 01 D8`)).toBe('too-long')
    expect(failure(`${prefixes(14)} 01 D8`, LONG, 15)).toBe('too-long')
    expect(failure(prefixes(13))).toBe('truncated')
    expect(failure('48 B8 00 00')).toBe('truncated')
  })
})

describe('the table', () => {
  it('parses, and its form keys are unique', () => {
    const keys = isaRows.flatMap((one) => formsOf(one).map(formKey))
    expect(keys.length).toBeGreaterThan(100)
    const seen = new Set<string>()
    const twice = keys.filter((key) => seen.has(key) || !seen.add(key))
    expect(twice).toEqual([])
  })
})

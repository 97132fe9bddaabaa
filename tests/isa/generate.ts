/** Makes test cases for a form of the instruction table, and from random bytes. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { formsOf, shapeOf } from '../../src/main/vmm/cpu/isa/forms'
import type { Form, InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { Gpr } from '../../src/main/vmm/cpu/state/layout'
import { Mode } from '../../src/main/vmm/cpu/state/mode'
import { CaseBuilder, MAP_BYTES } from './case-builder'
import type { IsaCase } from './engine'
import type { Random } from './random'
import { dataBase } from './random-state'
import { CODE_BASE, CODE_BYTES, type CpuMode } from './records'

export const MODE_KEYS: Readonly<Record<CpuMode, number>> = {
  64: Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.USER,
  32: Mode.PROTECTED | Mode.LONG | Mode.CODE32 | Mode.USER,
  16: Mode.PROTECTED | Mode.LONG | Mode.USER,
}

/** Modes in which a form can be reached. */
export function modesOf(form: Form): readonly CpuMode[] {
  const { row } = form
  const modes: CpuMode[] = row.modes === 'only64' ? [64] : row.modes === 'not64' ? [32, 16] : [64, 32, 16]
  return modes.filter((mode) => {
    if (form.size === 64 && shapeOf(row).sizeClass !== 'fixed' && mode !== 64) return false
    if (mode === 64 && row.size64 !== undefined && (form.size === 32 || (row.size64 === 'f64' && form.size !== 64))) return false
    if (row.addressSized && (mode === 64 ? form.addressSize === 16 : form.addressSize === 64)) return false
    return !(shapeOf(row).encoding.rexW === 1 && mode !== 64)
  })
}

/** Registers an indirect branch may take its target from: give most of them an address with INT3. */
function aimBranches(one: IsaCase, random: Random): void {
  const { form, input, mode } = one
  if (form.row.ends === undefined) return
  for (const operand of one.insn?.operands ?? []) {
    if (operand.kind !== 'gpr' || operand.index === Gpr.RSP || !random.chance(80)) continue
    const target = BigInt(CODE_BASE + 0x20 + random.below(0x700)) - dataBase(mode)
    input.setGpr(operand.index, target)
  }
}

/** One case for a form in a mode; undefined where the random choice does not decode to the form (for example a reserved register). */
export function makeCase(form: Form, mode: CpuMode, random: Random, decode: Decode): IsaCase | undefined {
  const { bytes, record } = new CaseBuilder(form, mode, random).build()
  if (bytes.length > 15 || Number(record.rip & 0xffffn) + 16 > CODE_BYTES + 0x1_0000) return undefined
  const result = decode(bytes, 0, bytes.length, MODE_KEYS[mode])
  if (!result.ok || result.insn.form !== form || result.insn.length !== bytes.length) return undefined
  // Now and then with segments that refuse things.
  const segments = mode === 16 && random.chance(25) ? 'odd' : 'plain'
  const one: IsaCase = { mode, segments, input: record, length: bytes.length, form, insn: result.insn }
  aimBranches(one, random)
  return one
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x65]

/** Bytes as chance gives them: prefixes in any number and order, a row's opcode or any, then noise. */
function rawBytes(rows: readonly InsnRow[], mode: CpuMode, random: Random): Uint8Array {
  const bytes: number[] = []
  while (random.chance(40)) bytes.push(random.chance(15) && mode === 64 ? 0x40 + random.below(16) : random.pick(PREFIXES))
  if (random.chance(85)) {
    const { encoding } = shapeOf(random.pick(rows))
    if (encoding.prefix && !encoding.prefix.startsWith('N') && random.chance(80)) bytes.push(parseInt(encoding.prefix, 16))
    if (mode === 64 && random.chance(40)) bytes.push(0x40 + random.below(16))
    bytes.push(...MAP_BYTES[encoding.map], encoding.opcode)
    if (encoding.fixed !== undefined && random.chance(80)) bytes.push(encoding.fixed)
    else if (random.chance(50)) bytes.push(0xc0 | random.below(64))
  }
  while (bytes.length < 16) bytes.push(random.u32() & 0xff)
  return Uint8Array.from(bytes.slice(0, 16))
}

/**
 * A case from random bytes: an instruction, or one that must be refused (LOCK where it is not allowed, too long).
 * Bytes without a row are not run: this CPU may know more than the table.
 */
export function makeRawCase(rows: readonly InsnRow[], mode: CpuMode, random: Random, decode: Decode): IsaCase | undefined {
  const bytes = rawBytes(rows, mode, random)
  const result = decode(bytes, 0, bytes.length, MODE_KEYS[mode])
  if (!result.ok && result.kind !== 'bad-lock' && result.kind !== 'too-long') return undefined
  const form = result.ok ? result.insn.form : formsOf(rows[0])[0]
  const length = result.ok ? result.insn.length : 16
  const record = new CaseBuilder(form, mode, random).stateOnly()
  if (record.rip % 0x1000n > 0xff0n && record.rip % 0x2000n > 0x1ff0n) return undefined
  record.code.fill(0xcc)
  record.code.set(bytes.subarray(0, length))
  return { mode, input: record, length, form, insn: result.ok ? result.insn : undefined }
}

/**
 * What the manual leaves undefined for a particular case. The table's `flags.undefined` says what may be undefined for some
 * operands; shifts and rotates are narrowed here to the counts for which it really is (SDM vol. 2, each instruction).
 */
import type { DecodedOperand, MemoryOperand } from '../../src/main/vmm/cpu/decode/types'
import { Seg } from '../../src/main/vmm/cpu/state/layout'
import type { IsaCase } from './engine'
import { CODE_BASE, GS_BASE, ODD_DS_LIMIT, WINDOW, WINDOW_BYTES } from './records'

export interface UndefinedResults {
  readonly flags: bigint
  /** Bits by general register. */
  readonly registers: ReadonlyMap<number, bigint>
  readonly memory: boolean
}

const FLAG_BITS: Readonly<Record<string, bigint>> = { o: 0x800n, s: 0x80n, z: 0x40n, a: 0x10n, p: 4n, c: 1n, d: 0x400n, i: 0x200n }
const NONE: ReadonlyMap<number, bigint> = new Map()
export const NOTHING_UNDEFINED: UndefinedResults = { flags: 0n, registers: NONE, memory: false }

export const flagMask = (letters: string): bigint => [...letters].reduce((mask, letter) => mask | (FLAG_BITS[letter] ?? 0n), 0n)

function shiftCount({ insn, input, form }: IsaCase): number {
  const last: DecodedOperand | undefined = insn?.operands.at(-1)
  const raw = last?.kind === 'imm' ? Number(last.value & 0xffn) : Number(input.gpr(1) & 0xffn)
  return raw & (shiftWidth({ insn, form }) === 64 ? 63 : 31)
}

function shiftWidth({ insn, form }: Pick<IsaCase, 'insn' | 'form'>): number {
  const first = insn?.operands[0]
  return first?.kind === 'gpr' ? first.width : first?.kind === 'mem' ? first.bytes * 8 : form.size
}

const onlyFlags = (letters: string): UndefinedResults => ({ flags: flagMask(letters), registers: NONE, memory: false })

/** The whole destination: a register, or memory. */
function destination({ insn }: IsaCase, mask: bigint): Pick<UndefinedResults, 'registers' | 'memory'> {
  const first = insn?.operands[0]
  if (first?.kind === 'gpr') return { registers: new Map([[first.index, mask]]), memory: false }
  return { registers: NONE, memory: first?.kind === 'mem' }
}

function shift(one: IsaCase): UndefinedResults {
  const count = shiftCount(one)
  if (count === 0) return NOTHING_UNDEFINED
  const overflow = count === 1 ? '' : 'o'
  const carry = count >= shiftWidth(one) && one.form.row.mnemonic !== 'SAR' ? 'c' : ''
  return onlyFlags(`a${overflow}${carry}`)
}

function rotate(one: IsaCase): UndefinedResults {
  return onlyFlags(shiftCount(one) > 1 ? 'o' : '')
}

function shiftDouble(one: IsaCase): UndefinedResults {
  const count = shiftCount(one)
  if (count === 0) return NOTHING_UNDEFINED
  if (count > shiftWidth(one)) return { flags: flagMask('oszapc'), ...destination(one, 0xffffn) }
  return onlyFlags(count === 1 ? 'a' : 'ao')
}

/** A failing CMPXCHG of 32 bits writes the old value back (Intel) or nothing (AMD): bits 63:32 differ between makers. */
function compareExchange(one: IsaCase): UndefinedResults {
  if (one.form.size !== 32) return NOTHING_UNDEFINED
  return { flags: 0n, registers: destination(one, 0xffff_ffff_0000_0000n).registers, memory: false }
}

const SPECIAL: Readonly<Record<string, (one: IsaCase) => UndefinedResults>> = {
  SHL: shift, SAL: shift, SHR: shift, SAR: shift, ROL: rotate, ROR: rotate, RCL: rotate, RCR: rotate, SHLD: shiftDouble, SHRD: shiftDouble,
  CMPXCHG: compareExchange,
}

export function undefinedResults(one: IsaCase): UndefinedResults {
  if (one.program) return { flags: one.undefinedFlags ?? 0n, registers: NONE, memory: false }
  const { row } = one.form
  return SPECIAL[row.mnemonic]?.(one) ?? onlyFlags(row.flags?.undefined ?? '')
}

function usesFs({ insn }: IsaCase): boolean {
  return insn?.dataSegment === Seg.FS || (insn?.operands.some((operand) => operand.kind === 'mem' && operand.segment === Seg.FS) ?? false)
}

function branchesBeyond({ insn, input, form }: IsaCase): boolean {
  const rel = insn?.operands.find((operand) => operand.kind === 'rel')
  if (!insn || !rel || form.size !== 32) return false
  return BigInt.asUintN(32, input.rip + BigInt(insn.length) + rel.displacement) > 0xffffn
}

/** The bytes a masked store could write are not all there, or beyond the limit of DS. */
function maskedStoreOutside({ form, mode, segments, input }: IsaCase): boolean {
  const at = BigInt.asUintN(form.addressSize, input.gpr(7)) + (mode === 16 ? BigInt(CODE_BASE) : 0n)
  return at < BigInt(segments === 'odd' ? CODE_BASE + ODD_DS_LIMIT + 1 : WINDOW) || at + 16n + 0x40n > BigInt(WINDOW + WINDOW_BYTES)
}

/** MXCSR bit 17, which masks alignment checks on AMD (MISALIGNSSE) and is reserved elsewhere, as on our CPU models. */
function loadsMisalignedMask(one: IsaCase): boolean {
  const operand = one.insn?.operands[0]
  if (one.form.row.mnemonic !== 'LDMXCSR' || operand?.kind !== 'mem') return false
  const at = Number(operandAddress(one, operand)) - WINDOW
  return at + 4 <= 0 || at >= WINDOW_BYTES ? false : ((one.input.window[at + 2] ?? 0) & 2) !== 0
}

function isAlternativeCr8({ insn, input }: IsaCase): boolean {
  const at = input.code.indexOf(0x0f)
  return insn === undefined && at > 0 && input.code.subarray(0, at).includes(0xf0) && (input.code[at + 1] & 0xfd) === 0x20
}

/** Linear address of a memory operand, before any check. */
export function operandAddress({ input, insn, mode }: IsaCase, operand: MemoryOperand): bigint {
  const base = operand.ripRelative ? input.rip + BigInt(insn?.length ?? 0) : operand.base < 0 ? 0n : input.gpr(operand.base)
  const index = operand.index < 0 ? 0n : input.gpr(operand.index) << BigInt(operand.scale)
  const offset = BigInt.asUintN(operand.addressSize, base + index + operand.displacement)
  return offset + (mode === 16 ? BigInt(CODE_BASE) : mode === 64 && operand.segment === Seg.GS ? GS_BASE : 0n)
}

function changesItself(one: IsaCase): boolean {
  const { input, insn, mode } = one
  const start = input.rip + (mode === 16 ? BigInt(CODE_BASE) : 0n)
  return (insn?.operands ?? []).some((operand) => {
    if (operand.kind !== 'mem') return false
    const address = operandAddress(one, operand)
    return address > start - 512n && address < start + 32n
  })
}

/** Cases in which CPUs differ from one another although nothing is undefined: the reason, or undefined. */
export function makersDiffer(one: IsaCase): string | undefined {
  const { form, insn, input, mode } = one
  const stackAt = Number(input.gpr(4) & 0xffff_ffffn) + (mode === 16 ? CODE_BASE : 0)
  const stackLeft = WINDOW + WINDOW_BYTES - stackAt
  if (form.row.mnemonic === 'POPA' && stackLeft < 32) return 'registers popped before the fault stay changed on some CPUs'
  if (form.row.mnemonic === 'CALL' && stackLeft < 0) return 'the order of a bad target and a bad stack is not laid down'
  const prefixes = insn ? [...input.code.subarray(0, insn.length)].filter((byte) => byte === 0x66 || byte === 0xf2 || byte === 0xf3) : []
  if (mode === 64 && form.row.size64 === 'f64' && prefixes.includes(0x66)) return 'AMD makes near branches 16 bits wide with 66'
  if (/^LOOPN?E$/.test(form.row.mnemonic) && prefixes.length > 0) return 'some CPUs let F2 and F3 choose between LOOPE and LOOPNE'
  if (form.row.mnemonic.startsWith('MASKMOV') && maskedStoreOutside(one)) return 'whether bytes that are not chosen can fault is left open'
  const readOnly = one.segments === 'odd' ? [0x2e, 0x65, 0x26] : [0x2e, 0x65]
  if (form.row.mnemonic.startsWith('MASKMOV') && mode !== 64 && input.code.subarray(0, one.length).some((byte) => readOnly.includes(byte))) {
    return 'MMX mode is entered before a segment fault on some CPUs'
  }
  if (loadsMisalignedMask(one)) return 'AMD has a bit in MXCSR that is reserved elsewhere'
  if (isAlternativeCr8(one)) return 'AMD has LOCK MOV CR0 as another name of CR8'
  if (changesItself(one)) return 'cross-modifying the instruction behind needs a serializing instruction to be seen'
  const masksFloat = (input.mxcsr & 0x1f80) === 0x1f80
  if (/^CVT.*PI/.test(form.row.mnemonic) && !masksFloat) return 'whether #XM comes before or after the change to MMX state is left open'
  if (mode === 64 && usesFs(one)) return 'FS is the runner\'s own'
  // Ours to repair, should anything ever depend on it: our engines notice at the target's fetch, after a CALL has pushed.
  if (mode === 16 && branchesBeyond(one)) return 'a relative branch past the segment limit faults at the branch'
  const readsMemory = insn?.operands.some((operand) => operand.kind === 'mem')
  if (form.row.mnemonic === 'MOVSXD' && form.size === 16 && readsMemory) return 'AMD reads 4 bytes where Intel reads 2'
  return undefined
}

/** Differences between two results of one case, and how they are told. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formKey } from '../../src/main/vmm/cpu/isa/forms'
import type { IsaCase } from './engine'
import { NOTHING_UNDEFINED, operandAddress, undefinedResults } from './undefined'
import { FX, FX_ST, FX_XMM, IsaRecord, NO_VECTOR, RESULT_AT, WINDOW, WINDOW_AT, WINDOW_BYTES, type CpuMode } from './records'

/** CF PF AF ZF SF DF OF, and the others an instruction may change; RF comes and goes with the trap that brings us back. */
const COMPARED_FLAGS = 0x24_4ed5n

const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
/** Exceptions that push an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17])

const hex = (value: bigint | number): string => `0x${value.toString(16)}`
const bytesHex = (bytes: Uint8Array): string => [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(' ')
const littleHex = (bytes: Uint8Array): string => [...bytes].reverse().map((b) => b.toString(16).padStart(2, '0')).join('')

export interface Difference { readonly field: string; readonly expected: string; readonly actual: string }

/** Above this Linux hides from user mode whether a page is present. */
const USER_END = 0x7fff_ffff_f000n
const visibleError = (record: IsaRecord): number => (record.vector === 14 && record.cr2 >= USER_END ? record.error | 1 : record.error)

const COMPARED_FLAGS_LOW = Number(COMPARED_FLAGS)

function sameBytes(a: DataView, b: DataView, at: number, end: number): boolean {
  for (; at < end; at += 4) if (a.getInt32(at, true) !== b.getInt32(at, true)) return false
  return true
}

/** True where two results agree in everything, undefined or not: what nearly all cases come to, without a look at each field. */
function isSame({ mode }: IsaCase, { view: a }: IsaRecord, { view: b }: IsaRecord): boolean {
  const registers = mode === 64 ? 16 : 8
  if (!sameBytes(a, b, RESULT_AT, RESULT_AT + 4) || (a.getUint32(RESULT_AT, true) !== NO_VECTOR && !sameBytes(a, b, RESULT_AT, RESULT_AT + 16))) return false
  if (((a.getInt32(128, true) ^ b.getInt32(128, true)) & COMPARED_FLAGS_LOW) !== 0 || !sameBytes(a, b, 136, mode === 64 ? 144 : 140)) return false
  if (mode === 64 ? !sameBytes(a, b, 0, 128) : !sameLowHalves(a, b)) return false
  if (a.getUint8(FX + 4) !== b.getUint8(FX + 4) || !sameBytes(a, b, FX, FX + 4) || !sameBytes(a, b, FX + 24, FX + 28)) return false
  for (let at = FX_ST; at < FX_XMM; at += 16) {
    if (!sameBytes(a, b, at, at + 8) || a.getUint16(at + 8, true) !== b.getUint16(at + 8, true)) return false
  }
  return sameBytes(a, b, FX_XMM, FX_XMM + 16 * registers) && sameBytes(a, b, WINDOW_AT, WINDOW_AT + WINDOW_BYTES)
}

function sameLowHalves(a: DataView, b: DataView): boolean {
  for (let at = 0; at < 64; at += 8) if (a.getInt32(at, true) !== b.getInt32(at, true)) return false
  return true
}

const NO_DIFFERENCE: readonly Difference[] = []

/** Fields where `actual` departs from `expected` in anything the architecture defines. */
export function differences(one: IsaCase, expected: IsaRecord, actual: IsaRecord): readonly Difference[] {
  if (isSame(one, expected, actual)) return NO_DIFFERENCE
  const found: Difference[] = []
  const check = (field: string, x: bigint | number, y: bigint | number): void => {
    if (x !== y) found.push({ field, expected: hex(x), actual: hex(y) })
  }
  const registerMask = one.mode === 64 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn
  check('vector', expected.vector, actual.vector)
  check('rip', expected.rip & registerMask, actual.rip & registerMask)
  if (expected.vector !== NO_VECTOR && expected.vector === actual.vector) {
    if (WITH_ERROR.has(expected.vector)) check('error', visibleError(expected), visibleError(actual))
    check('cr2', expected.cr2, actual.cr2)
  }
  // A faulting instruction leaves everything alone, whatever it would have left undefined.
  const open = expected.vector === NO_VECTOR || one.program ? undefinedResults(one) : NOTHING_UNDEFINED
  for (let n = 0; n < (one.mode === 64 ? 16 : 8); n++) {
    const mask = registerMask & ~(open.registers.get(n) ?? 0n)
    check(NAMES[n], expected.gpr(n) & mask, actual.gpr(n) & mask)
  }
  const flags = COMPARED_FLAGS & ~open.flags
  check('rflags', expected.rflags & flags, actual.rflags & flags)
  checkFloats(one.mode, expected, actual, check, found)
  if (!open.memory) checkWindow(expected.window, actual.window, check)
  return found
}

function checkWindow(expected: Uint8Array, actual: Uint8Array, check: (field: string, x: number, y: number) => void): void {
  if (Buffer.compare(expected, actual) === 0) return
  for (let at = 0; at < WINDOW_BYTES; at++) check(`[${hex(WINDOW + at)}]`, expected[at], actual[at])
}

function checkFloats(
  mode: CpuMode, expected: IsaRecord, actual: IsaRecord, check: (field: string, x: number, y: number) => void, found: Difference[],
): void {
  const vector = (field: string, x: Uint8Array, y: Uint8Array): void => {
    if (Buffer.compare(x, y) !== 0) found.push({ field, expected: littleHex(x), actual: littleHex(y) })
  }
  for (let n = 0; n < (mode === 64 ? 16 : 8); n++) vector(`xmm${n}`, expected.xmm(n), actual.xmm(n))
  check('mxcsr', expected.mxcsr, actual.mxcsr)
  check('fcw', expected.fcw, actual.fcw)
  check('fsw', expected.fsw, actual.fsw)
  check('ftw', expected.ftw, actual.ftw)
  for (let n = 0; n < 8; n++) vector(`st${n}`, expected.st(n), actual.st(n))
}

function disassemble(bytes: Uint8Array, mode: CpuMode): string {
  const folder = mkdtempSync(join(tmpdir(), 'nestbox-dis-'))
  try {
    const file = join(folder, 'code')
    writeFileSync(file, bytes)
    const machine = mode === 64 ? 'i386:x86-64' : mode === 32 ? 'i386' : 'i8086'
    const text = execFileSync('objdump', ['-D', '-b', 'binary', '-m', machine, '-M', 'intel', file], { encoding: 'utf8' })
    const lines = text.split('\n').filter((line) => /^\s+[0-9a-f]+:/.test(line))
    return lines.map((line) => line.split('\t').slice(2).join(' ').trim()).join(' ; ')
  } catch {
    return '(no objdump)'
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Everything needed to repeat and understand one failing case. */
export function report(one: IsaCase, engines: readonly [string, string], found: readonly Difference[]): string {
  const { input, form, mode, length } = one
  const code = input.code.subarray(0, length)
  const registers = NAMES.slice(0, mode === 64 ? 16 : 8).map((name, n) => `${name}=${hex(input.gpr(n))}`).join(' ')
  const lines = [
    `${formKey(form)} (${mode} bit${one.segments === 'odd' ? ', odd segments' : ''})  ${bytesHex(code)}  ${disassemble(code, mode)}`,
    `  in: rip=${hex(input.rip)} rflags=${hex(input.rflags)} mxcsr=${hex(input.mxcsr)} ` +
      `fcw=${hex(input.fcw)} fsw=${hex(input.fsw)} ftw=${hex(input.ftw)}`,
    `      ${registers}`,
    ...operandLines(one),
    `  ${'field'.padEnd(14)} ${engines[0].padEnd(34)} ${engines[1]}`,
    ...found.slice(0, 24).map(({ field, expected, actual }) => `  ${field.padEnd(14)} ${expected.padEnd(34)} ${actual}`),
  ]
  return lines.join('\n')
}

function operandLines(one: IsaCase): string[] {
  const { input, insn } = one
  return (insn?.operands ?? []).flatMap((operand, n) => {
    if (operand.kind === 'xmm') return [`      operand ${n}: xmm${operand.index}=${littleHex(input.xmm(operand.index))}`]
    if (operand.kind === 'mmx') {
      const stack = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => littleHex(input.st(i))).join(' ')
      return [`      operand ${n}: mm${operand.index} (st in: ${stack})`]
    }
    if (operand.kind === 'imm') return [`      operand ${n}: ${hex(operand.value)}`]
    if (operand.kind !== 'mem') return []
    const address = operandAddress(one, operand)
    const at = Number(address) - WINDOW
    const shown = at >= 0 && at < WINDOW_BYTES ? littleHex(input.window.subarray(at, at + 16)) : 'outside the window'
    return [`      operand ${n}: memory ${hex(address)}: ${shown}`]
  })
}

/**
 * The decoder against binutils: length and mnemonic of random instructions of every row, in 16-, 32- and 64-bit mode.
 * Only bytes that both take for an instruction are compared; how many that must be is checked too.
 */
import { describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import type { DecodedInsn } from '../../src/main/vmm/cpu/decode/types'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { shapeOf } from '../../src/main/vmm/cpu/isa/forms'
import { MODE_KEYS } from './generate'
import { listedName, listingOf } from './objdump'
import { Random } from './random'
import type { CpuMode } from './records'

const SLOT = 32
const PER_ROW = 60
const PREFIX_BYTES = { one: [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a] } as const
const decode = createDecoder(isaRows, () => true)

/** Random prefixes of different groups, then the row's opcode, then random bytes. REX comes last, as it must to count. */
function randomBytes(rowIndex: number, mode: CpuMode, random: Random): number[] {
  const { encoding } = shapeOf(isaRows[rowIndex])
  const bytes: number[] = []
  if (random.chance(15) && encoding.prefix === undefined) bytes.push(0x66)
  if (random.chance(12)) bytes.push(0x67)
  if (random.chance(8)) bytes.push(random.pick([0x64, 0x65]))
  if (encoding.prefix !== undefined && !encoding.prefix.startsWith('N')) bytes.push(parseInt(encoding.prefix, 16))
  if (mode === 64 && encoding.rexW === 1) bytes.push(0x48 | random.below(8))
  else if (mode === 64 && random.chance(40)) bytes.push(0x40 | random.below(16))
  bytes.push(...PREFIX_BYTES[encoding.map])
  bytes.push(encoding.plusR && encoding.fixed === undefined ? (encoding.opcode & 0xf8) | random.below(8) : encoding.opcode)
  if (encoding.fixed !== undefined) bytes.push(encoding.plusR ? (encoding.fixed & 0xf8) | random.below(8) : encoding.fixed)
  else if (typeof encoding.modrm === 'number') bytes.push((random.u32() & 0xc7) | (encoding.modrm << 3))
  while (bytes.length < SLOT / 2) bytes.push(random.u32() & 0xff)
  return bytes.slice(0, SLOT / 2)
}

const CONDITION_NAMES: Readonly<Record<string, string>> = {
  c: 'b', nae: 'b', nc: 'ae', nb: 'ae', z: 'e', nz: 'ne', na: 'be', nbe: 'a', pe: 'p', po: 'np', nge: 'l', nl: 'ge', ng: 'le', nle: 'g',
}

/** Both sides' names brought to one form: operand-size letters, synonyms and prefixes of the listing taken away. */
function normal(name: string): string {
  const lower = name.toLowerCase()
  const conditional = /^(j|set|cmov)(\w+)$/.exec(lower)
  if (conditional && conditional[2] in CONDITION_NAMES) return conditional[1] + CONDITION_NAMES[conditional[2]]
  return SYNONYMS[lower] ?? lower
}

const SYNONYMS: Readonly<Record<string, string>> = {
  movabs: 'mov', sal: 'shl', retn: 'ret', retw: 'ret', retf: 'retf', lretw: 'retf', cwtl: 'cbw', cwde: 'cbw', cdqe: 'cbw',
  cdq: 'cwd', cqo: 'cwd',
  pushaw: 'pusha', pushad: 'pusha', popaw: 'popa', popad: 'popa', pushfw: 'pushf', pushfd: 'pushf', pushfq: 'pushf', popfw: 'popf',
  popfd: 'popf', popfq: 'popf', iretw: 'iret', iretd: 'iret', iretq: 'iret', movsxd: 'movsxd', jcxz: 'jrcxz', jecxz: 'jrcxz', xlat: 'xlatb',
  fwait: 'wait', ud2a: 'ud2', ud2b: 'ud1', int1: 'icebp', enterw: 'enter', leavew: 'leave',
  pushw: 'push', pushd: 'push', pushq: 'push', popw: 'pop', enterd: 'enter',
  callw: 'call', sysretl: 'sysret', sysretq: 'sysret', sysexitl: 'sysexit', sysexitq: 'sysexit', fxsave64: 'fxsave', fxrstor64: 'fxrstor',
  fnstenvw: 'fnstenv', fnstenvd: 'fnstenv', fnsavew: 'fnsave', fnsaved: 'fnsave', fldenvw: 'fldenv', fldenvd: 'fldenv', frstorw: 'frstor', frstord: 'frstor',
  xsave64: 'xsave', xrstor64: 'xrstor', xsaveopt64: 'xsaveopt', sgdtd: 'sgdt', sgdtw: 'sgdt', sidtd: 'sidt', sidtw: 'sidt', lgdtd: 'lgdt',
  lgdtw: 'lgdt', lidtd: 'lidt', lidtw: 'lidt', rex: '', sysretd: 'sysret', sysexitd: 'sysexit', popd: 'pop', retd: 'ret', calld: 'call', jmpd: 'jmp', leaved: 'leave',
}

/** Rows whose names are legitimately told apart by operands in one place and by name in the other. */
function sameName(insn: DecodedInsn, listed: string): boolean {
  const ours = normal(insn.row.mnemonic)
  const theirs = normal(listed)
  if (ours === theirs) return true
  const byRexW = /^(mov|pextr|pinsr)[dq]$|^(pcmpestr[im])q?$/
  if (byRexW.test(ours) && ours.replace(byRexW, '$1$2') === theirs.replace(byRexW, '$1$2')) return true
  // Strings: MOVS for MOVSD/MOVSW/MOVSQ and operand forms; far jumps and calls; hints; pseudo-comparisons CMPEQPS.
  const stem = (name: string): string => name.replace(/^(movs|cmps|stos|lods|scas|ins|outs)[bwdq]$/, '$1')
  if (stem(ours) === stem(theirs)) return true
  if (/^(jmp|call|ret)f?$/.test(ours) && /^(l?jmp|l?call|l?retf?|retf)[wdq]?$/.test(theirs)) return true
  if (/^cmp(ps|pd|ss|sd)$/.test(ours) && theirs.startsWith('cmp')) return true
  return HINTS.has(ours) && HINTS.has(theirs)
}

const HINTS = new Set(['nop', 'nopw', 'prefetch', 'prefetchw', 'prefetchwt1', 'prefetcht0', 'prefetcht1', 'prefetcht2', 'prefetchnta',
  'endbr32',
  'endbr64', 'bndldx', 'bndstx', 'bndcl', 'bndcu', 'bndcn', 'bndmk', 'bndmov', 'rdsspd', 'rdsspq', 'cldemote', 'xchg', 'pause',
  'prefetchit0', 'prefetchit1', 'hint'])

describe.each([64, 32, 16] as const)('decoder and objdump in %i-bit mode', (mode) => {
  const random = new Random(mode * 101)
  // The listing joins FWAIT and what follows.
  const absent = mode === 64 ? 'not64' : 'only64'
  const rows = isaRows.map((_, i) => i).filter((i) => isaRows[i].mnemonic !== 'FWAIT' && isaRows[i].modes !== absent)
  const samples = rows.flatMap((i) => Array.from({ length: PER_ROW }, () => randomBytes(i, mode, random)))
  const image = new Uint8Array(samples.length * SLOT).fill(0x90)
  samples.forEach((bytes, i) => image.set(bytes, i * SLOT))

  it('agree on length and name', () => {
    const listing = listingOf(image, mode)
    const wrong: string[] = []
    let compared = 0
    samples.forEach((bytes, i) => {
      const result = decode(image, i * SLOT, SLOT, MODE_KEYS[mode])
      const listed = listing.get(i * SLOT)
      if (!result.ok || !listed || listed.text.includes('(bad)') || listedName(listed.text) === '') return
      compared++
      const { length, row } = result.insn
      const hex = bytes.slice(0, Math.max(length, listed.length)).map((b) => b.toString(16).padStart(2, '0')).join(' ')
      const both = `${hex}: ${row.mnemonic} ${row.encoding} of ${length} bytes; objdump: ${listed.text} of ${listed.length}`
      if (length !== listed.length || !sameName(result.insn, listedName(listed.text))) wrong.push(both)
    })
    expect(wrong.slice(0, 40)).toEqual([])
    expect(compared).toBeGreaterThan(samples.length * 0.5)
  })
})

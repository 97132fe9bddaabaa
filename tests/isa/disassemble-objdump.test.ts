/**
 * The disassembler against binutils: operands of random instructions of every row, in 16-, 32- and 64-bit mode. Names are
 * compared by `decode-objdump.test.ts`. What is spelled otherwise on purpose is listed here, and nothing else may differ.
 */
import { describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { disassemble } from '../../src/main/vmm/cpu/decode/disassemble'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { shapeOf } from '../../src/main/vmm/cpu/isa/forms'
import { MODE_KEYS } from './generate'
import { listingOf, withoutPrefixes } from './objdump'
import { Random } from './random'
import type { CpuMode } from './records'

const SLOT = 32
const PER_ROW = 12
const MAPS = { one: [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a] } as const
const decode = createDecoder(isaRows, () => true)

/** An instruction of the row without prefixes that change nothing: both sides name those differently. */
function randomBytes(rowIndex: number, mode: CpuMode, random: Random): number[] {
  const { encoding } = shapeOf(isaRows[rowIndex])
  const bytes: number[] = []
  if (encoding.prefix !== undefined && !encoding.prefix.startsWith('N')) bytes.push(parseInt(encoding.prefix, 16))
  if (mode === 64 && encoding.rexW === 1) bytes.push(0x48 | random.below(8))
  else if (mode === 64 && random.chance(40)) bytes.push(0x40 | random.below(16))
  bytes.push(...MAPS[encoding.map])
  bytes.push(encoding.plusR && encoding.fixed === undefined ? (encoding.opcode & 0xf8) | random.below(8) : encoding.opcode)
  if (encoding.fixed !== undefined) bytes.push(encoding.plusR ? (encoding.fixed & 0xf8) | random.below(8) : encoding.fixed)
  else if (typeof encoding.modrm === 'number') bytes.push((random.u32() & 0xc7) | (encoding.modrm << 3))
  while (bytes.length < SLOT / 2) bytes.push(random.u32() & 0xff)
  return bytes.slice(0, SLOT / 2)
}

/** The operands of a line, in one spelling. */
function operandsOf(line: string): string {
  // An address relative to RIP is shown resolved by us, and behind a hash sign by them.
  const target = /# (0x[0-9a-f]+)/.exec(line)?.[1] ?? ''
  const text = line.replace(/\s+[#<].*$/, '').toLowerCase().replace(/\[[re]ip[+-]0x[0-9a-f]+\]/, `[${target}]`)
  return withoutPrefixes(text).replace(/^\S+\s*/, '')
    .replace(/\b([a-z]+ )ptr /g, '')
    .replace(/\b(ds|es|ss|cs):(?=0x|\[0x)/g, '').replace(/\b([fg]s):0x/g, '$1:[0x')
    .replace(/[[\]\s]/g, '').replace(/\+?\b[re]iz\*\d/, '').replace(/\*1\b/g, '')
    .replace(/0x0*(?=[0-9a-f])/g, '').replace(/[+]0\b/g, '')
}

/** Rows where one side shows implicit operands; and hints, which objdump has many names and sizes for. */
const NOT_COMPARED = new Set(['NOP', 'PREFETCH', 'PREFETCHW',
  'XLAT', 'MOVS', 'CMPS', 'STOS', 'LODS', 'SCAS', 'INS', 'OUTS', 'MONITOR', 'MWAIT'])

/** A sum of nothing but an index that is not there is written as an absolute address by us; REX.B PAUSE is XCHG R8,RAX to us. */
const isComparable = (mnemonic: string, theirs: string): boolean =>
  !NOT_COMPARED.has(mnemonic) && !NOT_COMPARED.has(mnemonic.replace(/[BWDQ]$/, '')) && !/\[[re]iz|pause/.test(theirs)

/** Rows that read or write less of a register than objdump names, or more. */
const LOOSE_WIDTH = /^(LAR|LSL|MOV|MOVMSKP[SD]|PMOVMSKB|CRC32|PEXTRW)$/
const widthless = (text: string): string => text.replace(/\b[er]?([abcd]x|[sb]p|[sd]i)\b/g, '$1').replace(/\b(r\d+)[wd]\b/g, '$1')

function comparable(mnemonic: string, line: string): string {
  const text = operandsOf(line)
  // The predicate is a number to us and part of the name to objdump, where it has a name.
  if (/^CMP(PS|PD|SS|SD)$/.test(mnemonic)) return text.split(',').slice(0, 2).join(',')
  return LOOSE_WIDTH.test(mnemonic) && (mnemonic !== 'MOV' || /\b[c-g]s\b|\b(es|ss)\b/.test(text)) ? widthless(text) : text
}

describe.each([64, 32, 16] as const)('disassembler and objdump in %i-bit mode', (mode) => {
  const random = new Random(mode * 77)
  const absent = mode === 64 ? 'not64' : 'only64'
  const rows = isaRows.map((_, i) => i).filter((i) => isaRows[i].mnemonic !== 'FWAIT' && isaRows[i].modes !== absent)
  const samples = rows.flatMap((i) => Array.from({ length: PER_ROW }, () => randomBytes(i, mode, random)))
  const image = new Uint8Array(samples.length * SLOT).fill(0x90)
  samples.forEach((bytes, i) => image.set(bytes, i * SLOT))

  it('show the same operands', () => {
    const listed = listingOf(image, mode)
    const wrong: string[] = []
    let compared = 0
    samples.forEach((_, i) => {
      const result = decode(image, i * SLOT, SLOT, MODE_KEYS[mode])
      const theirs = listed.get(i * SLOT)?.text
      if (!result.ok || !theirs || theirs.includes('(bad)') || !isComparable(result.insn.row.mnemonic, theirs)) return
      compared++
      const ours = disassemble(result.insn, BigInt(i * SLOT), mode === 64)
      if (comparable(result.insn.row.mnemonic, ours) !== comparable(result.insn.row.mnemonic, theirs)) wrong.push(`${ours} | ${theirs}`)
    })
    expect(wrong.slice(0, 60)).toEqual([])
    expect(compared).toBeGreaterThan(samples.length * 0.5)
  })
})

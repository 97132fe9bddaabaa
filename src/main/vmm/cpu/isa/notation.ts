/** Parser of the instruction table's notation: encodings as in the SDM's opcode column, operands as in its appendix A. */
import { Seg } from '../state/layout'

export type MandatoryPrefix = 'NP' | 'NFx' | '66' | 'F3' | 'F2'
export type OpcodeMap = 'one' | '0F' | '0F38' | '0F3A'

export interface ParsedEncoding {
  readonly prefix: MandatoryPrefix | undefined
  readonly map: OpcodeMap
  /** Opcode byte within its map; the first of eight where `plusR` is set. */
  readonly opcode: number
  /** Fixed ModRM byte; with `plusR` the first of eight. */
  readonly fixed: number | undefined
  /** `/r` or `/0`…`/7`. */
  readonly modrm: 'r' | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | undefined
  readonly plusR: boolean
  readonly rexW: 0 | 1 | undefined
  readonly mod: 'reg' | 'mem' | undefined
}

export type OperandLetter = 'E' | 'G' | 'Z' | 'M' | 'R' | 'I' | 'J' | 'O' | 'S' | 'C' | 'D' | 'V' | 'W' | 'U' | 'P' | 'Q' | 'N' | 'A'
export type SizeCode =
  | 'b' | 'w' | 'd' | 'q' | 't' | 'v' | 'z' | 'y' | 'bs' | 'dq' | 'x' | 'ps' | 'pd' | 'ss' | 'sd' | 'pi' | 'p' | 'a' | 's' | ''

export type ParsedOperand =
  | { readonly kind: 'code'; readonly letter: OperandLetter; readonly size: SizeCode }
  /** Fixed general register; `size` b, w, d, q fixed, v or z by operand size. */
  | { readonly kind: 'register'; readonly index: number; readonly size: 'b' | 'w' | 'd' | 'q' | 'v' | 'z'; readonly high8: boolean }
  | { readonly kind: 'segment'; readonly index: number }
  | { readonly kind: 'xmm'; readonly index: number }
  | { readonly kind: 'constant'; readonly value: number }

export interface ParsedOperandWithAccess { readonly operand: ParsedOperand; readonly access: 'r' | 'w' | 'rw' | 'n' }

/** The notation of a row is wrong. A programming error: thrown when the table is first used. */
export class NotationError extends Error {}

const HEX_BYTE = /^[0-9A-F]{2}$/

interface Tokens {
  bytes: number[]
  modrm: ParsedEncoding['modrm']
  plusR: boolean
  rexW: ParsedEncoding['rexW']
  mod: ParsedEncoding['mod']
}

function takeToken(out: Tokens, token: string, encoding: string): void {
  if (HEX_BYTE.test(token)) out.bytes.push(parseInt(token, 16))
  else if (/^[0-9A-F]{2}\+r$/.test(token)) { out.bytes.push(parseInt(token, 16)); out.plusR = true }
  else if (token === '+r') out.plusR = true
  else if (token === '/r') out.modrm = 'r'
  else if (/^\/[0-7]$/.test(token)) out.modrm = Number(token[1]) as ParsedEncoding['modrm']
  else if (token === 'W0' || token === 'W1') out.rexW = token === 'W1' ? 1 : 0
  else if (token === 'mod=3') out.mod = 'reg'
  else if (token === 'mod=m') out.mod = 'mem'
  else throw new NotationError(`encoding '${encoding}': '${token}' is not an opcode byte, /r, /digit, +r, W0, W1, mod=3 or mod=m`)
}

/** Splits opcode bytes into map, opcode and what follows it. */
function splitMap(bytes: readonly number[]): { map: OpcodeMap; rest: readonly number[] } {
  if (bytes[0] !== 0x0f) return { map: 'one', rest: bytes }
  if (bytes[1] === 0x38) return { map: '0F38', rest: bytes.slice(2) }
  if (bytes[1] === 0x3a) return { map: '0F3A', rest: bytes.slice(2) }
  return { map: '0F', rest: bytes.slice(1) }
}

/** @throws NotationError */
export function parseEncoding(encoding: string): ParsedEncoding {
  const words = encoding.trim().split(/\s+/)
  const out: Tokens = { bytes: [], modrm: undefined, plusR: false, rexW: undefined, mod: undefined }
  let prefix: MandatoryPrefix | undefined
  for (const word of words) {
    const isPrefix = word === 'NP' || word === 'NFx' || word === '66' || word === 'F3' || word === 'F2'
    if (isPrefix && prefix === undefined && out.bytes.length === 0) prefix = word
    else takeToken(out, word, encoding)
  }
  const { map, rest } = splitMap(out.bytes)
  const [opcode, fixed] = rest
  const refuse = (why: string): never => { throw new NotationError(`encoding '${encoding}': ${why}`) }
  if (opcode === undefined || rest.length > 2) return refuse('expected one opcode byte and at most one fixed ModRM byte')
  if (fixed !== undefined && out.modrm !== undefined) return refuse('a fixed ModRM byte excludes /r and /digit')
  if (out.mod !== undefined && out.modrm === undefined) return refuse('mod= needs /r or /digit')
  if (out.plusR && out.modrm !== undefined) return refuse('+r excludes /r and /digit')
  return { prefix, map, opcode, fixed, modrm: out.modrm, plusR: out.plusR, rexW: out.rexW, mod: out.mod }
}

const GPR_NAMES = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI']
const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'] as const
const WIDE = { r: 'v', e: 'z', E: 'd', R: 'q', '': 'w' } as const
const SIZES: readonly SizeCode[] = [
  'b', 'w', 'd', 'q', 't', 'v', 'z', 'y', 'bs', 'dq', 'x', 'ps', 'pd', 'ss', 'sd', 'pi', 'p', 'a', 's', '',
]

function parseFixed(text: string): ParsedOperand | undefined {
  if (/^\d+$/.test(text)) return { kind: 'constant', value: Number(text) }
  const byte = /^([ACDB])([LH])$/.exec(text)
  if (byte) return { kind: 'register', index: 'ACDB'.indexOf(byte[1] ?? ''), size: 'b', high8: byte[2] === 'H' }
  const wide = /^([reER]?)([ACDB]X|[SB]P|[SD]I)$/.exec(text)
  if (wide) {
    const size = WIDE[(wide[1] ?? '') as keyof typeof WIDE]
    return { kind: 'register', index: GPR_NAMES.indexOf(wide[2] ?? ''), size, high8: false }
  }
  const extended = /^R(8|9|1[0-5])$/.exec(text)
  if (extended) return { kind: 'register', index: Number(extended[1]), size: 'q', high8: false }
  const segment = SEGMENT_NAMES.indexOf(text as (typeof SEGMENT_NAMES)[number])
  if (segment >= 0) return { kind: 'segment', index: Seg[SEGMENT_NAMES[segment] as (typeof SEGMENT_NAMES)[number]] }
  const xmm = /^XMM(\d)$/.exec(text)
  return xmm ? { kind: 'xmm', index: Number(xmm[1]) } : undefined
}

function parseOperand(text: string, operands: string): ParsedOperand {
  const fixed = parseFixed(text)
  if (fixed) return fixed
  const letter = text[0] ?? ''
  const size = text.slice(1) as SizeCode
  if ('EGZMRIJOSCDVWUPQNA'.includes(letter) && SIZES.includes(size)) return { kind: 'code', letter: letter as OperandLetter, size }
  throw new NotationError(`operands '${operands}': '${text}' is not an operand code of appendix A`)
}

/** Operands with their access, in order. @throws NotationError */
export function parseOperands(operands: string, access: string): readonly ParsedOperandWithAccess[] {
  const texts = operands.trim() === '' ? [] : operands.split(',').map((text) => text.trim())
  const accesses = access.trim() === '' ? [] : access.split(',').map((text) => text.trim())
  if (texts.length !== accesses.length) {
    throw new NotationError(`operands '${operands}' and access '${access}' differ in number`)
  }
  return texts.map((text, i) => {
    const kind = accesses[i] ?? ''
    if (kind !== 'r' && kind !== 'w' && kind !== 'rw' && kind !== 'n') {
      throw new NotationError(`access '${access}': '${kind}' is not r, w, rw or n`)
    }
    return { operand: parseOperand(text, operands), access: kind }
  })
}

/** WebAssembly instruction names and binary opcodes (WebAssembly Core Specification 2.0 §5.4, tail-call proposal). */

export type ValType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128'

export const VALTYPE_CODE: Readonly<Record<ValType, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b }

/** Control and variable opcodes the encoder writes itself. */
export const Op = {
  unreachable: 0x00, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e,
  return: 0x0f, call: 0x10, callIndirect: 0x11, returnCall: 0x12, returnCallIndirect: 0x13, drop: 0x1a, select: 0x1b,
  localGet: 0x20, localSet: 0x21, localTee: 0x22, i32Const: 0x41, i64Const: 0x42, f32Const: 0x43, f64Const: 0x44,
  prefixFC: 0xfc, prefixFD: 0xfd, void: 0x40,
} as const

function numbered(first: number, names: string): [string, number][] {
  return names.trim().split(/\s+/).map((name, i) => [name, first + i] as [string, number]).filter(([name]) => name !== '-')
}

const intOps = (t: string): string =>
  `${t}.clz ${t}.ctz ${t}.popcnt ${t}.add ${t}.sub ${t}.mul ${t}.div_s ${t}.div_u ${t}.rem_s ${t}.rem_u ` +
  `${t}.and ${t}.or ${t}.xor ${t}.shl ${t}.shr_s ${t}.shr_u ${t}.rotl ${t}.rotr`
const intCompares = (t: string): string =>
  `${t}.eqz ${t}.eq ${t}.ne ${t}.lt_s ${t}.lt_u ${t}.gt_s ${t}.gt_u ${t}.le_s ${t}.le_u ${t}.ge_s ${t}.ge_u`
const floatCompares = (t: string): string => `${t}.eq ${t}.ne ${t}.lt ${t}.gt ${t}.le ${t}.ge`
const floatOps = (t: string): string =>
  `${t}.abs ${t}.neg ${t}.ceil ${t}.floor ${t}.trunc ${t}.nearest ${t}.sqrt ${t}.add ${t}.sub ${t}.mul ${t}.div ${t}.min ${t}.max ${t}.copysign`

/** One-byte opcodes without immediates. */
const PLAIN: ReadonlyMap<string, number> = new Map([
  ...numbered(0x45, intCompares('i32')), ...numbered(0x50, intCompares('i64')),
  ...numbered(0x5b, floatCompares('f32')), ...numbered(0x61, floatCompares('f64')),
  ...numbered(0x67, intOps('i32')), ...numbered(0x79, intOps('i64')),
  ...numbered(0x8b, floatOps('f32')), ...numbered(0x99, floatOps('f64')),
  ...numbered(0xa7, `i32.wrap_i64 i32.trunc_f32_s i32.trunc_f32_u i32.trunc_f64_s i32.trunc_f64_u i64.extend_i32_s i64.extend_i32_u
    i64.trunc_f32_s i64.trunc_f32_u i64.trunc_f64_s i64.trunc_f64_u f32.convert_i32_s f32.convert_i32_u f32.convert_i64_s
    f32.convert_i64_u f32.demote_f64 f64.convert_i32_s f64.convert_i32_u f64.convert_i64_s f64.convert_i64_u f64.promote_f32
    i32.reinterpret_f32 i64.reinterpret_f64 f32.reinterpret_i32 f64.reinterpret_i64
    i32.extend8_s i32.extend16_s i64.extend8_s i64.extend16_s i64.extend32_s`),
])

/** 0xFC-prefixed opcodes without immediates. */
const SATURATING: ReadonlyMap<string, number> = new Map(numbered(0, `i32.trunc_sat_f32_s i32.trunc_sat_f32_u i32.trunc_sat_f64_s
  i32.trunc_sat_f64_u i64.trunc_sat_f32_s i64.trunc_sat_f32_u i64.trunc_sat_f64_s i64.trunc_sat_f64_u`))

/** Opcode and natural alignment (log2) of plain loads and stores. */
export const MEMORY_OPS: Readonly<Record<string, readonly [number, number]>> = {
  'i32.load': [0x28, 2], 'i64.load': [0x29, 3], 'i32.load8_s': [0x2c, 0], 'i32.load8_u': [0x2d, 0], 'i32.load16_s': [0x2e, 1],
  'i32.load16_u': [0x2f, 1], 'i64.load8_u': [0x31, 0], 'i64.load16_u': [0x33, 1], 'i64.load32_s': [0x34, 2],
  'i64.load32_u': [0x35, 2], 'i32.store': [0x36, 2], 'i64.store': [0x37, 3], 'i32.store8': [0x3a, 0], 'i32.store16': [0x3b, 1],
  'i64.store32': [0x3e, 2],
}
/** 0xFD-prefixed memory opcodes. */
export const VEC_MEMORY_OPS: Readonly<Record<string, readonly [number, number]>> = { 'v128.load': [0, 4], 'v128.store': [11, 4] }

/** 0xFD-prefixed opcodes without immediates, by number. */
const SIMD: ReadonlyMap<string, number> = new Map([
  ...numbered(14, `i8x16.swizzle i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat`),
  ...numbered(35, `i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s i8x16.le_u i8x16.ge_s i8x16.ge_u
    i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s i16x8.gt_u i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u
    i32x4.eq i32x4.ne i32x4.lt_s i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u
    f32x4.eq f32x4.ne f32x4.lt f32x4.gt f32x4.le f32x4.ge f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge
    v128.not v128.and v128.andnot v128.or v128.xor v128.bitselect v128.any_true`),
  ...numbered(94, `f32x4.demote_f64x2_zero f64x2.promote_low_f32x4 i8x16.abs i8x16.neg i8x16.popcnt i8x16.all_true i8x16.bitmask
    i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest i8x16.shl i8x16.shr_s i8x16.shr_u
    i8x16.add i8x16.add_sat_s i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u f64x2.ceil f64x2.floor
    i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u f64x2.trunc i8x16.avgr_u i16x8.extadd_pairwise_i8x16_s
    i16x8.extadd_pairwise_i8x16_u i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u
    i16x8.abs i16x8.neg i16x8.q15mulr_sat_s i16x8.all_true i16x8.bitmask i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u
    i16x8.extend_low_i8x16_s i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u
    i16x8.shl i16x8.shr_s i16x8.shr_u i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s i16x8.sub_sat_u
    f64x2.nearest i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u - i16x8.avgr_u
    i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u i16x8.extmul_high_i8x16_u
    i32x4.abs i32x4.neg - i32x4.all_true i32x4.bitmask - - i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s
    i32x4.extend_low_i16x8_u i32x4.extend_high_i16x8_u i32x4.shl i32x4.shr_s i32x4.shr_u i32x4.add - - i32x4.sub - - - i32x4.mul
    i32x4.min_s i32x4.min_u i32x4.max_s i32x4.max_u i32x4.dot_i16x8_s - i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s
    i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u i64x2.abs i64x2.neg - i64x2.all_true i64x2.bitmask - -
    i64x2.extend_low_i32x4_s i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u
    i64x2.shl i64x2.shr_s i64x2.shr_u i64x2.add - - i64x2.sub - - - i64x2.mul i64x2.eq i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s
    i64x2.ge_s i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u i64x2.extmul_high_i32x4_u
    f32x4.abs f32x4.neg - f32x4.sqrt f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max f32x4.pmin f32x4.pmax
    f64x2.abs f64x2.neg - f64x2.sqrt f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin f64x2.pmax
    i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u
    i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u`),
])

/** 0xFD-prefixed opcodes with a lane immediate. */
const SIMD_LANE: ReadonlyMap<string, number> = new Map(numbered(21, `i8x16.extract_lane_s i8x16.extract_lane_u i8x16.replace_lane
  i16x8.extract_lane_s i16x8.extract_lane_u i16x8.replace_lane i32x4.extract_lane i32x4.replace_lane
  i64x2.extract_lane i64x2.replace_lane f32x4.extract_lane f32x4.replace_lane f64x2.extract_lane f64x2.replace_lane`))

export const SHUFFLE = 13

/** 0xFC-prefixed memory opcodes. */
export const MEMORY_COPY = 10
export const MEMORY_FILL = 11
export const V128_CONST = 12

/** Bytes before any immediate. */
export interface Encoded { readonly prefix: number | undefined; readonly code: number; readonly lane: boolean }

/** Looks an instruction name up; throws for a name the specification does not have. */
export function encodeName(name: string): Encoded {
  const plain = PLAIN.get(name)
  if (plain !== undefined) return { prefix: undefined, code: plain, lane: false }
  const sat = SATURATING.get(name)
  if (sat !== undefined) return { prefix: Op.prefixFC, code: sat, lane: false }
  const simd = SIMD.get(name)
  if (simd !== undefined) return { prefix: Op.prefixFD, code: simd, lane: false }
  const lane = SIMD_LANE.get(name)
  if (lane !== undefined) return { prefix: Op.prefixFD, code: lane, lane: true }
  throw new RangeError(`no wasm instruction named ${name}`)
}

/** What follows an opcode. */
export type Immediate = 'none' | 'lane' | 'memory' | 'v128' | 'lanes' | 'local' | 'label' | 'labels' | 'function' | 'indirect' | 'i32' | 'i64' | 'type' | 'memory-index' | 'two-memory-indices'

const CONTROL: readonly (readonly [string, number, Immediate])[] = [
  ['unreachable', Op.unreachable, 'none'], ['block', Op.block, 'type'], ['loop', Op.loop, 'type'], ['if', Op.if, 'type'], ['else', Op.else, 'none'],
  ['end', Op.end, 'none'], ['br', Op.br, 'label'], ['br_if', Op.brIf, 'label'], ['br_table', Op.brTable, 'labels'], ['return', Op.return, 'none'], ['call', Op.call, 'function'],
  ['call_indirect', Op.callIndirect, 'indirect'], ['return_call', Op.returnCall, 'function'], ['return_call_indirect', Op.returnCallIndirect, 'indirect'],
  ['drop', Op.drop, 'none'], ['select', Op.select, 'none'], ['local.get', Op.localGet, 'local'], ['local.set', Op.localSet, 'local'],
  ['local.tee', Op.localTee, 'local'], ['i32.const', Op.i32Const, 'i32'], ['i64.const', Op.i64Const, 'i64'],
]

/** Every instruction the encoder writes, by `prefix << 16 | opcode`. */
function collectNames(): ReadonlyMap<number, { readonly name: string; readonly immediate: Immediate }> {
  const names = new Map<number, { name: string; immediate: Immediate }>()
  const put = (prefix: number, code: number, name: string, immediate: Immediate): void => void names.set((prefix << 16) | code, { name, immediate })
  for (const [name, code, immediate] of CONTROL) put(0, code, name, immediate)
  for (const [name, code] of PLAIN) put(0, code, name, 'none')
  for (const [name, code] of SATURATING) put(Op.prefixFC, code, name, 'none')
  for (const [name, code] of SIMD) put(Op.prefixFD, code, name, 'none')
  for (const [name, code] of SIMD_LANE) put(Op.prefixFD, code, name, 'lane')
  for (const [name, [code]] of Object.entries(MEMORY_OPS)) put(0, code, name, 'memory')
  for (const [name, [code]] of Object.entries(VEC_MEMORY_OPS)) put(Op.prefixFD, code, name, 'memory')
  put(Op.prefixFC, MEMORY_COPY, 'memory.copy', 'two-memory-indices')
  put(Op.prefixFC, MEMORY_FILL, 'memory.fill', 'memory-index')
  put(Op.prefixFD, V128_CONST, 'v128.const', 'v128')
  put(Op.prefixFD, SHUFFLE, 'i8x16.shuffle', 'lanes')
  return names
}

const NAMES = collectNames()

/** The instruction of an opcode; undefined for one the encoder never writes. @param prefix 0 where there is none */
export const nameOfOpcode = (prefix: number, code: number): { readonly name: string; readonly immediate: Immediate } | undefined => NAMES.get((prefix << 16) | code)

/** Names of the vector instructions without immediates, for tests that run them all. */
export const simdNames: readonly string[] = [...SIMD.keys()]

/** Bulk parts of REP MOVS and REP STOS: many elements at once. What they leave, single turns of the instruction do. */
import { CpuFault, type CpuContext } from '../core/context'
import type { Helper, HelperEmitter, Val } from '../emit/emitter'
import { checkSegment } from '../../mmu/segment'
import { Gpr, Seg } from '../state/layout'
import { Mode } from '../state/mode'

/**
 * Bulk part of REP MOVS and REP STOS: as many elements as lie in RAM within one page of each operand, forward only.
 * Does nothing (the plain loop then does one element) where that is not so, or where the operands overlap in the way
 * that makes MOVS a pattern fill.
 */
export const bulkString: Helper = {
  name: 'bulkString', args: ['i64', 'i64', 'i32', 'i32'], faults: false,
  /** @param source64 linear address, or the fill pattern @param kind element bytes, bit 8 fill, bits 16–18 the source's segment */
  run(cpu: CpuContext, source64: bigint, destination64: bigint, kind: number, addressSize: number): void {
    const fill = (kind & 0x100) !== 0
    const mask = (1n << BigInt(addressSize)) - 1n
    const address = (register: number): bigint => cpu.state.gpr(register) & mask
    const allowed = (length: number): boolean => allows(cpu, Seg.ES, address(Gpr.RDI), length, mask, true) &&
      (fill || allows(cpu, (kind >> 16) & 7, address(Gpr.RSI), length, mask, false))
    const bytes = kind & 0xff
    moveElements(cpu, { source: source64, destination: destination64, bytes, fill, addressSize, least: 2 * bytes, allowed })
  },
}

interface Move {
  /** Linear addresses; the pattern instead of the source's where `fill`. */
  readonly source: bigint
  readonly destination: bigint
  /** Of an element. */
  readonly bytes: number
  readonly fill: boolean
  readonly addressSize: number
  /** Bytes that are worth it. */
  readonly least: number
  readonly allowed: (length: number) => boolean
}

function moveElements(cpu: CpuContext, { source, destination, bytes, fill, addressSize, least, allowed }: Move): void {
  const { state } = cpu
  // Every element may have a debug trap of its own.
  if ((state.get('modeKey') & Mode.SINGLE_STEP) !== 0) return
  const mask = (1n << BigInt(addressSize)) - 1n
  const count = state.gpr(Gpr.RCX) & mask
  const room = (linear: bigint): number => Math.floor((4096 - Number(linear & 0xfffn)) / bytes)
  let elements = Number(count < 4096n ? count : 4096n)
  elements = Math.min(elements, room(destination))
  if (!fill) elements = Math.min(elements, room(source))
  const length = elements * bytes
  if (length < least || !allowed(length) || !copyWithinRam(cpu, source, destination, length, fill ? bytes : 0)) return
  const bump = (register: number, by: bigint): void => {
    const old = state.gpr(register)
    const next = (old + by) & mask
    state.setGpr(register, addressSize === 16 ? (old & ~mask) | next : next)
  }
  if (!fill) bump(Gpr.RSI, BigInt(length))
  bump(Gpr.RDI, BigInt(length))
  bump(Gpr.RCX, -BigInt(elements))
}

/** What both kinds need to know: elements in this page, as bytes and as a count, and how registers move. */
interface Run { readonly length: Val; readonly elements: Val; address(register: number): Val; bump(register: number, by: Val): void }

/**
 * Elements that `registers` have in their pages, at most RCX of them; `use` runs where they are worth it.
 * Arguments of the helper: log2 of an element's bytes, 1 for 64-bit addresses (0: 32-bit).
 */
function withinPages(e: HelperEmitter, registers: readonly number[], use: (run: Run) => void): void {
  const [shift, wide] = [e.argument(0), e.trunc(e.argument(1), 1)]
  // Every element may have a debug trap of its own.
  e.if(e.bit(e.field('modeKey'), Math.log2(Mode.SINGLE_STEP)), () => e.finish())
  const mask = e.select(wide, e.const(64, -1), e.const(64, 0xffff_ffff))
  const address = (register: number): Val => e.and(e.field('gpr', register), mask)
  const least = (a: Val, b: Val): Val => e.select(e.ltu(a, b), a, b)
  const left = address(Gpr.RCX)
  const count = e.select(e.ltu(left, e.const(64, 4096)), e.trunc(left, 32), e.const(32, 4096))
  const room = (register: number): Val => {
    const within = e.and(e.trunc(address(register), 32), e.const(32, 0xfff))
    return e.shr(e.sub(e.const(32, 4096), within), shift)
  }
  const elements = registers.reduce((n, register) => least(n, room(register)), count)
  const length = e.shl(elements, shift)
  const bump = (register: number, by: Val): void => e.setField('gpr', e.and(e.add(e.field('gpr', register), by), mask), register)
  e.if(e.ltu(length, e.const(32, LEAST_FLAT)), () => e.finish())
  use({ length, elements, address, bump })
}

/** The host address of a register's page, where the TLB has it. */
function placeOf(e: HelperEmitter, address: Val, write: boolean): Val {
  const host = e.hostOf(address, write)
  e.if(e.isZero(host), () => e.fallBack())
  return host
}

function finishRun(e: HelperEmitter, { length, elements, bump }: Run, registers: readonly number[]): void {
  for (const register of registers) bump(register, e.zext(length, 64))
  bump(Gpr.RCX, e.neg(e.zext(elements, 64)))
  e.finish()
}

/** Bytes that are worth it where segments need not be looked at. */
const LEAST_FLAT = 8

/**
 * Kernels and C libraries do this at every copy and page: mostly there is nothing to it but wasm. What the TLB does not have takes the same
 * elements at once all the same: turns count as instructions, and their number must not depend on what was run before.
 */
const flat = (name: string, fill: boolean, common: (e: HelperEmitter) => void): Helper => ({
  name, args: ['i32', 'i32'], faults: false, common,
  /** @param shift log2 of an element's bytes @param wide 1 for 64-bit addresses, 0 for 32-bit ones */
  run(cpu: CpuContext, shift: number, wide: number): void {
    const addressSize = wide ? 64 : 32
    const address = (register: number): bigint => cpu.state.gpr(register) & ((1n << BigInt(addressSize)) - 1n)
    const source = fill ? cpu.state.gpr(Gpr.RAX) : address(Gpr.RSI)
    moveElements(cpu, { source, destination: address(Gpr.RDI), bytes: 1 << shift, fill, addressSize, least: LEAST_FLAT, allowed: () => true })
  },
})

/** REP MOVS in flat segments. @see withinPages */
export const bulkMove = flat('bulkMove', false, (e) => {
  const registers = [Gpr.RSI, Gpr.RDI]
  withinPages(e, registers, (run) => {
    const to = placeOf(e, run.address(Gpr.RDI), true)
    const from = placeOf(e, run.address(Gpr.RSI), false)
    // Forward overlap makes a pattern of the first bytes. The same bytes may be mapped twice, so hosts are compared.
    const distance = e.sub(to, from)
    e.if(e.ltu(e.sub(distance, e.const(32, 1)), e.sub(run.length, e.const(32, 1))), () => e.finish())
    e.moveBytes(to, from, run.length)
    finishRun(e, run, registers)
  })
})

/** REP STOS in flat segments. @see withinPages */
export const bulkFill = flat('bulkFill', true, (e) => {
  withinPages(e, [Gpr.RDI], (run) => {
    const to = placeOf(e, run.address(Gpr.RDI), true)
    const [shift, bits] = [e.argument(0), e.shl(e.const(64, 8), e.zext(e.argument(0), 64))]
    const element = e.and(e.field('gpr', Gpr.RAX), e.shr(e.const(64, -1), e.sub(e.const(64, 64), bits)))
    const times = [0x0101_0101_0101_0101n, 0x0001_0001_0001_0001n, 0x1_0000_0001n]
    const repeat = times.reduceRight((others, by, i) => e.select(e.eq(shift, e.const(32, i)), e.const(64, by), others), e.const(64, 1))
    e.fillBytes(to, e.mul(element, repeat), run.length)
    finishRun(e, run, [Gpr.RDI])
  })
})

/** True where the whole range lies before the address wraps and the segment allows the access; else single turns find the fault. */
function allows(cpu: CpuContext, segment: number, ea: bigint, length: number, mask: bigint, write: boolean): boolean {
  if (ea + BigInt(length) > mask + 1n) return false
  if ((cpu.state.get('modeKey') & Mode.CODE64) !== 0) return true
  try {
    checkSegment(cpu, segment, ea, length, write)
    return true
  } catch (error) {
    if (!(error instanceof CpuFault)) throw error
    return false
  }
}

function copyWithinRam(cpu: CpuContext, from: bigint, to: bigint, length: number, patternBytes: number): boolean {
  const target = cpu.memory.directBytes(to, length, true)
  if (!target) return false
  if (patternBytes > 0) {
    for (let i = 0; i < patternBytes; i++) target[i] = Number((from >> BigInt(8 * i)) & 0xffn)
    for (let done = patternBytes; done < length; done *= 2) target.copyWithin(done, 0, Math.min(done, length - done))
    return true
  }
  const origin = cpu.memory.directBytes(from, length, false)
  if (!origin) return false
  // Forward overlap makes a pattern of the first bytes. The same bytes may be mapped twice, so hosts are compared.
  const distance = target.byteOffset - origin.byteOffset
  if (distance > 0 && distance < length) return false
  target.set(origin)
  return true
}

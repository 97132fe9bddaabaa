/** The emitter that evaluates at once: the reference every engine is compared with. */
import { BugError } from '../../errors'
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { DecodedInsn, DecodedOperand, MemoryOperand } from '../decode/types'
import type { ArithFlag, Condition, Emitter, FlagsKind, Helper, LoopControl, MemRef, Val, Var, Vec, Width } from '../emit/emitter'
import { shapeOf } from '../isa/forms'
import { packRflags, unpackRflags, Flag } from '../state/flags'
import { FIELDS, Seg, type FieldName } from '../state/layout'
import { OracleArithmetic } from './arithmetic'
import { linearAddress } from './segments'
import { bool, bytesOfVec, maskOf, signed, unary, unsigned, val, vecOf, type OMem } from './values'
import { readLanes } from './vectors'

/** Ends the meaning: execution goes on at `rip` of the state. */
export const INSTRUCTION_END = { end: true } as const

const FLAG_BITS: Readonly<Record<ArithFlag, bigint>> = { cf: Flag.CF, pf: Flag.PF, af: Flag.AF, zf: Flag.ZF, sf: Flag.SF, of: Flag.OF }

class LoopSignal {
  constructor(readonly loop: symbol, readonly kind: 'break' | 'continue') {}
}

const ADDRESS_MASKS = { 16: 0xffffn, 32: 0xffff_ffffn, 64: maskOf(64) } as const

export class OracleEmitter extends OracleArithmetic implements Emitter {
  /** RIP of the instruction and of the next. */
  private readonly here: bigint
  private readonly following: bigint
  /** Memory operands read for update: written back to the same place, whatever registers change in between. */
  private readonly updated = new Map<number, MemRef>()

  constructor(private readonly cpu: CpuContext, private readonly insn: DecodedInsn, here: bigint, following: bigint) {
    super()
    this.here = here
    this.following = following
  }

  // ── operands ──────────────────────────────────────────────────────────────────────────────────────────────────
  private decoded(n: number): DecodedOperand {
    const operand = this.insn.operands[n] as DecodedOperand | undefined
    if (!operand) throw new BugError(`${this.insn.row.mnemonic} has no operand ${n}`)
    return operand
  }

  private memoryWidth(operand: MemoryOperand): Width {
    switch (operand.bytes) {
      case 1: case 2: case 4: case 8: return (operand.bytes * 8) as Width
      case 16: return 64
      default: return this.insn.form.size
    }
  }

  operand(n: number, width?: Width): Val {
    const operand = this.decoded(n)
    switch (operand.kind) {
      case 'gpr': return operand.high8 ? this.regHigh8(operand.index) : this.reg(operand.index, width ?? operand.width)
      case 'mem': return this.readMemory(n, width ?? this.memoryWidth(operand))
      case 'imm': return val(width ?? operand.width, operand.value)
      case 'rel': return val(width ?? 64, operand.displacement)
      case 'far': return val(width ?? this.insn.form.size, operand.offset)
      case 'xmm': return val(width ?? 64, readLanes(this.cpu.state.vec('xmm', operand.index), 64)[0])
      case 'mmx': return val(width ?? 64, readLanes(this.cpu.state.vec('fpr', operand.index), 64)[0])
      default: return val(width ?? 32, operand.index)
    }
  }

  private readMemory(n: number, width: Width): Val {
    const at = this.memOperand(n)
    if (shapeOf(this.insn.row).operands[n].access === 'rw') {
      this.updated.set(n, at)
      return val(width, this.read(at as OMem, width, true))
    }
    return this.load(width, at)
  }

  setOperand(n: number, value: Val): void {
    const operand = this.decoded(n)
    switch (operand.kind) {
      case 'gpr':
        if (operand.high8) this.setRegHigh8(operand.index, value)
        else this.setReg(operand.index, value)
        return
      case 'mem': return this.store(this.updated.get(n) ?? this.memOperand(n), value)
      case 'xmm': return this.setLow(this.cpu.state.vec('xmm', operand.index), value)
      case 'mmx': return this.setLow(this.cpu.state.vec('fpr', operand.index), value)
      default: throw new BugError(`operand ${n} of ${this.insn.row.mnemonic} cannot be written`)
    }
  }

  private setLow(register: Uint8Array, value: Val): void {
    for (let i = 0; i < value.width / 8; i++) register[i] = Number((unsigned(value) >> BigInt(8 * i)) & 0xffn)
  }

  operandVec(n: number): Vec {
    const operand = this.decoded(n)
    if (operand.kind === 'mem') return this.loadVec(this.memOperand(n))
    if (operand.kind === 'xmm') return this.xmm(operand.index)
    if (operand.kind !== 'mmx') throw new BugError(`operand ${n} of ${this.insn.row.mnemonic} is no vector`)
    return vecOf(this.cpu.state.vec('fpr', operand.index).slice())
  }

  setOperandVec(n: number, value: Vec): void {
    const operand = this.decoded(n)
    if (operand.kind === 'mem') return this.storeVec(this.memOperand(n), value)
    if (operand.kind === 'xmm') return this.setXmm(operand.index, value)
    if (operand.kind !== 'mmx') throw new BugError(`operand ${n} of ${this.insn.row.mnemonic} is no vector`)
    this.cpu.state.vec('fpr', operand.index).set(bytesOfVec(value))
  }

  farSelector(n: number): Val {
    const operand = this.decoded(n)
    if (operand.kind !== 'far') throw new BugError(`operand ${n} of ${this.insn.row.mnemonic} is no far pointer`)
    return val(16, operand.selector)
  }

  isMemory(n: number): boolean { return this.decoded(n).kind === 'mem' }

  private memory(n: number): MemoryOperand {
    const operand = this.decoded(n)
    if (operand.kind !== 'mem') throw new BugError(`operand ${n} of ${this.insn.row.mnemonic} has no address`)
    return operand
  }

  effectiveAddress(n: number): Val {
    const { base, index, scale, displacement, ripRelative, addressSize } = this.memory(n)
    const start = ripRelative ? this.following : base < 0 ? 0n : this.cpu.state.gpr(base)
    const scaled = index < 0 ? 0n : this.cpu.state.gpr(index) << BigInt(scale)
    return val(64, (start + scaled + displacement) & ADDRESS_MASKS[addressSize])
  }

  memOperand(n: number, byteOffset?: Val): MemRef {
    const { segment, addressSize } = this.memory(n)
    const address = unsigned(this.effectiveAddress(n)) + (byteOffset ? unsigned(byteOffset) : 0n)
    return this.place(segment, address & ADDRESS_MASKS[addressSize])
  }

  requireAligned(n: number, bytes: number): void {
    if (!this.isMemory(n)) return
    const { segment, address } = this.memOperand(n) as OMem
    const base = this.cpu.state.get64('dataBase', segment)
    if (((base + address) & BigInt(bytes - 1)) !== 0n) throw new CpuFault(Vector.GP, 0)
  }

  // ── registers and state ───────────────────────────────────────────────────────────────────────────────────────
  reg(index: number, width: Width): Val { return val(width, this.cpu.state.gpr(index)) }

  setReg(index: number, value: Val): void {
    const { state } = this.cpu
    const mask = value.width === 32 ? maskOf(64) : maskOf(value.width)
    state.setGpr(index, (state.gpr(index) & ~mask) | unsigned(value))
  }

  regHigh8(index: number): Val { return val(8, this.cpu.state.gpr(index) >> 8n) }

  setRegHigh8(index: number, value: Val): void {
    if (value.width !== 8) throw new TypeError(`${value.width} bits into a high byte`)
    const { state } = this.cpu
    state.setGpr(index, (state.gpr(index) & ~0xff00n) | (unsigned(value) << 8n))
  }

  field(name: FieldName, index = 0): Val {
    const { type } = FIELDS[name]
    if (type === 'v128') throw new BugError(`${name} is a vector`)
    const { state } = this.cpu
    if (type === 'i64') return val(64, state.get64(name as 'rip', index))
    return val(32, state.get(name as 'cpl', index))
  }

  setField(name: FieldName, value: Val, index = 0): void {
    const { state } = this.cpu
    if (FIELDS[name].type === 'i64') state.set64(name as 'rip', unsigned(value), index)
    else state.set(name as 'cpl', Number(unsigned(value) & 0xffff_ffffn), index)
  }

  xmm(index: number): Vec { return vecOf(this.cpu.state.vec('xmm', index).slice()) }
  setXmm(index: number, value: Vec): void { this.cpu.state.vec('xmm', index).set(bytesOfVec(value)) }

  // ── flags ─────────────────────────────────────────────────────────────────────────────────────────────────────
  setFlags(kind: FlagsKind, a: Val, b: Val, result: Val): void {
    if (kind === 'logic') return this.setFlagsExplicit(result, { cf: bool(false), of: bool(false) })
    const isStep = kind === 'inc' || kind === 'dec'
    const other = isStep ? 1n : unsigned(b)
    const [x, r] = [unsigned(a), unsigned(result)]
    const isAdd = kind === 'add' || kind === 'inc'
    const carries = isAdd ? (x & other) | ((x | other) & ~r) : (~x & other) | (~(x ^ other) & r)
    const overflow = isAdd ? (x ^ r) & (other ^ r) : (x ^ other) & (x ^ r)
    const top = result.width - 1
    const bitOf = (v: bigint, at: number): Val => val(1, v >> BigInt(at))
    const cf = isStep ? this.flag('cf') : bitOf(carries, top)
    this.setFlagsExplicit(result, { cf, of: bitOf(overflow, top), af: bitOf(carries, 3) })
  }

  setFlagsExplicit(result: Val, { cf, of, af }: { cf: Val; of: Val; af?: Val }): void {
    const r = unsigned(result)
    let flags = 0n
    if (unsigned(cf)) flags |= Flag.CF
    if (unsigned(of)) flags |= Flag.OF
    if (af && unsigned(af)) flags |= Flag.AF
    if (r === 0n) flags |= Flag.ZF
    if (signed(result) < 0n) flags |= Flag.SF
    if (unsigned(unary('popcnt', val(8, r))) % 2n === 0n) flags |= Flag.PF
    this.replaceArithFlags(flags)
  }

  private replaceArithFlags(flags: bigint): void {
    const { state } = this.cpu
    unpackRflags(state, (packRflags(state) & ~0x8d5n) | (flags & 0x8d5n))
  }

  setFlag(flag: ArithFlag, value: Val): void {
    if (value.width !== 1) throw new TypeError(`flag ${flag} from ${value.width} bits`)
    const old = packRflags(this.cpu.state)
    this.replaceArithFlags(unsigned(value) ? old | FLAG_BITS[flag] : old & ~FLAG_BITS[flag])
  }

  flag(flag: ArithFlag): Val { return bool((packRflags(this.cpu.state) & FLAG_BITS[flag]) !== 0n) }

  condition(cc: Condition): Val {
    const is = (flag: ArithFlag): boolean => unsigned(this.flag(flag)) !== 0n
    switch (cc) {
      case 'o': return bool(is('of'))
      case 'no': return bool(!is('of'))
      case 'b': return bool(is('cf'))
      case 'ae': return bool(!is('cf'))
      case 'e': return bool(is('zf'))
      case 'ne': return bool(!is('zf'))
      case 'be': return bool(is('cf') || is('zf'))
      case 'a': return bool(!is('cf') && !is('zf'))
      case 's': return bool(is('sf'))
      case 'ns': return bool(!is('sf'))
      case 'p': return bool(is('pf'))
      case 'np': return bool(!is('pf'))
      case 'l': return bool(is('sf') !== is('of'))
      case 'ge': return bool(is('sf') === is('of'))
      case 'le': return bool(is('zf') || is('sf') !== is('of'))
      case 'g': return bool(!is('zf') && is('sf') === is('of'))
    }
  }

  rflags(): Val { return val(64, packRflags(this.cpu.state)) }
  setArithFlags(rflags: Val): void { this.replaceArithFlags(unsigned(rflags)) }

  // ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────
  private place(segment: number, address: bigint): OMem { return { mem: true, segment, address } }

  memData(ea: Val): MemRef {
    const memory = this.insn.operands.find((operand) => operand.kind === 'mem')
    return this.place(memory ? memory.segment : this.insn.dataSegment, unsigned(ea))
  }

  memSeg(seg: number, ea: Val): MemRef { return this.place(seg, unsigned(ea)) }

  linearAddress(at: MemRef): Val {
    const { segment, address } = at as OMem
    return val(64, this.cpu.state.get64('dataBase', segment) + address)
  }

  segmentNumber(at: MemRef): Val { return val(32, (at as OMem).segment) }

  private linear({ segment, address }: OMem, bytes: number, write: boolean): bigint {
    return linearAddress(this.cpu.state, segment, address, bytes, write)
  }

  private read(at: OMem, width: Width, forUpdate: boolean): bigint {
    const bytes = Math.max(1, width / 8)
    const linear = this.linear(at, bytes, forUpdate)
    const { memory } = this.cpu
    if (forUpdate) memory.probe(linear, bytes, true)
    return bytes === 8 ? memory.read64(linear) : BigInt(memory.read(linear, bytes as 1 | 2 | 4))
  }

  load(width: Width, at: MemRef): Val { return val(width, this.read(at as OMem, width, false)) }

  store(at: MemRef, value: Val): void {
    const bytes = Math.max(1, value.width / 8)
    const linear = this.linear(at as OMem, bytes, true)
    if (bytes === 8) this.cpu.memory.write64(linear, unsigned(value))
    else this.cpu.memory.write(linear, bytes as 1 | 2 | 4, Number(unsigned(value)))
  }

  update(width: Width, at: MemRef, change: (old: Val) => Val): void {
    this.store(at, change(val(width, this.read(at as OMem, width, true))))
  }

  loadVec(at: MemRef): Vec {
    const bytes = new Uint8Array(16)
    this.cpu.memory.readBytes(this.linear(at as OMem, 16, false), bytes)
    return vecOf(bytes)
  }

  storeVec(at: MemRef, value: Vec): void {
    const linear = this.linear(at as OMem, 16, true)
    this.cpu.memory.probe(linear, 16, true)
    this.cpu.memory.writeBytes(linear, bytesOfVec(value))
  }

  private stack(by: number): { top: bigint; moved: bigint; mask: bigint } {
    const { state } = this.cpu
    const mask = state.get64('stackMask')
    const rsp = state.gpr(4)
    return { top: rsp & mask, moved: (rsp + BigInt(by)) & mask, mask }
  }

  private setStackPointer(moved: bigint, mask: bigint): void {
    const { state } = this.cpu
    state.setGpr(4, (state.gpr(4) & ~mask) | moved)
  }

  push(value: Val): void {
    const { moved, mask } = this.stack(-value.width / 8)
    this.store(this.place(Seg.SS, moved), value)
    this.setStackPointer(moved, mask)
  }

  pop(width: Width): Val {
    const { top, moved, mask } = this.stack(width / 8)
    const value = this.load(width, this.place(Seg.SS, top))
    this.setStackPointer(moved, mask)
    return value
  }

  // ── control ───────────────────────────────────────────────────────────────────────────────────────────────────
  if(cond: Val, then: () => void, otherwise?: () => void): void {
    if (cond.width !== 1) throw new TypeError(`condition of ${cond.width} bits`)
    if (unsigned(cond)) then()
    else otherwise?.()
  }

  loop(body: (control: LoopControl) => void): void {
    const loop = Symbol('loop')
    const control: LoopControl = {
      break: () => { throw new LoopSignal(loop, 'break') },
      continue: () => { throw new LoopSignal(loop, 'continue') },
    }
    for (;;) {
      try {
        body(control)
      } catch (signal) {
        if (!(signal instanceof LoopSignal) || signal.loop !== loop) throw signal
        if (signal.kind === 'break') return
      }
    }
  }

  variable(width: Width, init: Val): Var {
    let current = init
    const check = (value: Val): void => {
      if (value.width !== width) throw new TypeError(`${value.width} bits into a variable of ${width}`)
    }
    check(init)
    return { width, get: () => current, set: (value) => { check(value); current = value } }
  }

  choose(cond: Val, then: () => Val, otherwise: () => Val): Val { return unsigned(cond) ? then() : otherwise() }

  call(helper: Helper, ...args: Val[]): Val {
    const { state } = this.cpu
    state.set64('rip', this.here)
    state.set64('nextRip', this.following)
    const values = helper.args.map((type, i) => (type === 'i64' ? unsigned(args[i]) : Number(unsigned(args[i]) & 0xffff_ffffn)))
    const result = (helper.run as (cpu: CpuContext, ...values: (number | bigint)[]) => number | bigint | void)(this.cpu, ...values)
    if (helper.returns === undefined) return val(32, 0)
    return val(helper.returns === 'i64' ? 64 : 32, result as number | bigint)
  }

  raise(vector: number, errorCode?: Val | number): void {
    throw new CpuFault(vector, errorCode === undefined || typeof errorCode === 'number' ? errorCode : Number(unsigned(errorCode)))
  }

  currentRip(): Val { return val(64, this.here) }
  nextRip(): Val { return val(64, this.following) }

  private goTo(target: bigint): never {
    this.cpu.state.set64('rip', target)
    throw INSTRUCTION_END
  }

  private relativeTarget(): bigint {
    const rel = this.insn.operands.find((operand) => operand.kind === 'rel')
    if (!rel) throw new BugError(`${this.insn.row.mnemonic} has no relative operand`)
    return (this.following + rel.displacement) & maskOf(this.insn.form.size)
  }

  branchRelative(cond: Val): void {
    if (unsigned(cond)) this.goTo(this.relativeTarget())
  }

  jumpRelative(): void { this.goTo(this.relativeTarget()) }

  jumpTo(target: Val): void {
    const to = unsigned(target)
    if (this.insn.form.size === 64 && BigInt.asUintN(64, BigInt.asIntN(48, to)) !== to) throw new CpuFault(Vector.GP, 0)
    this.goTo(to)
  }

  leave(): void { throw INSTRUCTION_END }
  /** Nothing waits for the oracle between turns of a REP. */
  checkpoint(): void {}
}

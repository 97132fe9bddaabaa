/**
 * The state of translated code: general registers, the fields of the state block, where the running instruction stands, and what
 * is known of all that behind arms and loops. Where registers and flags live is the tier's matter.
 *
 * Nothing absolute is baked in: guest addresses count from `blockRip`, so code serves wherever its bytes stand at the same
 * page offset.
 */
import { BugError } from '../../errors'
import type { DecodedInsn } from '../decode/types'
import type { LoopControl, Val, Vec, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import type { OperandPlace } from '../interp/places'
import { FIELDS, Seg, offsetOf, type FieldName } from '../state/layout'
import { Mode } from '../state/mode'
import { LazyFlagEmitter } from './lazy-flags'
import type { OwnConstants } from './own-constants'
import type { RegisterFile } from './register-file'

/** One instruction of a block. */
export interface BlockInsn {
  readonly insn: DecodedInsn
  readonly places: readonly OperandPlace[]
  /** Byte offset of its record, and of the one behind it, from the head record. */
  readonly record: number
  readonly next: number
  /** Byte distance from the block's first instruction. */
  readonly delta: number
  /** Instructions from the block's head up to and including this one. */
  readonly count: number
}

export interface BlockPlace {
  readonly modeKey: number
  /** Byte offset of the first instruction in its page. */
  readonly pageOffset: number
  /** Constants that the code has in a list. */
  readonly constants: OwnConstants
}

export abstract class StateEmitter extends LazyFlagEmitter {
  protected abstract readonly regs: RegisterFile
  protected readonly code64: boolean
  protected readonly flat: boolean
  protected override readonly narrowLinear: boolean
  protected current!: BlockInsn
  protected helperCalled = false
  protected tlb: Node | undefined
  /** The running instruction has set the TLB in force, on some way through it. */
  protected tlbChanged = false

  constructor(f: FunctionBuilder, protected readonly place: BlockPlace) {
    super(f, f.param(0))
    this.code64 = (place.modeKey & Mode.CODE64) !== 0
    this.flat = (place.modeKey & Mode.FLAT) !== 0
    this.narrowLinear = (place.modeKey & Mode.LONG) === 0
  }

  // ── addresses of instructions ─────────────────────────────────────────────────────────────────────────────────

  protected ripAt(delta: number): Node {
    const { f } = this
    const head = f.loadConstant('i64.load', 'i64', this.cpu, offsetOf('blockRip'))
    return f.pure('i64.add', 'i64', [head, f.i64(BigInt(delta))])
  }

  currentRip(): Val {
    return this.wrap(64, this.ripAt(this.current.delta), true)
  }

  nextRip(): Val {
    return this.wrap(64, this.ripAt(this.current.delta + this.current.insn.length), true)
  }

  /** Builds code of an arm the emitter's own `if`s make: what is computed there must not be used outside. */
  protected inArm(build: () => void): () => void {
    return () => {
      this.depth++
      build()
      this.depth--
    }
  }

  // ── arms and loops ────────────────────────────────────────────────────────────────────────────────────────────

  /** Builds arms; what they changed is unknown behind them. */
  private arms(build: (arm: <T>(inner: () => T) => () => T) => void): void {
    const { f } = this
    const mark = f.mark()
    const flags = this.flagState
    const outerTouched = this.flagsTouched
    this.flagsTouched = false
    const tlb = this.tlb
    const regs = this.regs.beginArms()
    this.depth++
    build((inner) => () => {
      this.flagState = flags
      this.tlb = tlb
      this.regs.restore(regs)
      return inner()
    })
    this.depth--
    this.flagState = flags
    this.regs.endArms(regs)
    this.tlb = this.helperCalled || this.tlbChanged ? undefined : tlb
    // One way may have stored new flags: the other must have stored the old ones.
    if (this.flagsTouched) {
      f.insertAt(mark, () => this.spillFlags())
      this.forgetFlags()
    }
    this.flagsTouched ||= outerTouched
  }

  override if(cond: Val, then: () => void, otherwise?: () => void): void {
    const node = this.clean(cond)
    if (node.op === 'const') return node.imm !== 0 ? then() : otherwise?.()
    this.arms((arm) => super.if(cond, arm(then), otherwise && arm(otherwise)))
  }

  override choose(cond: Val, then: () => Val, otherwise: () => Val): Val {
    const node = this.clean(cond)
    if (node.op === 'const') return node.imm !== 0 ? then() : otherwise()
    let result: Val | undefined
    this.arms((arm) => { result = super.choose(cond, arm(then), arm(otherwise)) })
    return result as Val
  }

  override loop(body: (control: LoopControl) => void): void {
    this.settleFlags()
    this.forgetFlags()
    this.regs.forgetAll()
    this.tlb = undefined
    this.depth++
    super.loop(body)
    this.depth--
    this.forgetFlags()
    this.regs.forgetAll()
    this.tlb = undefined
  }

  // ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────

  protected override tlbBase(): Node {
    if (this.tlb) return this.tlb
    const node = super.tlbBase()
    if (this.depth === 0) this.tlb = node
    return node
  }

  /** Fields whose value follows from the mode. */
  private knownField(name: FieldName, index: number): Val | undefined {
    if (name === 'modeKey') return this.const(32, this.place.modeKey)
    if (name === 'stackMask' && this.flat) {
      if (this.code64) return this.const(64, -1n)
      return this.const(64, (this.place.modeKey & Mode.CODE32) !== 0 ? 0xffff_ffffn : 0xffffn)
    }
    if (name === 'segLimit' && index === Seg.CS && this.flat && !this.code64) return this.const(32, 0xffff_ffff)
    const base = (name === 'dataBase' && index < Seg.FS) || name === 'stackBase' || name === 'codeBase'
    return base && this.flat ? this.const(64, 0n) : undefined
  }

  field(name: FieldName, index = 0): Val {
    const known = this.knownField(name, index)
    if (known) return known
    if (name === 'ccCarry') return this.wrap(64, this.carryNode(), true)
    if (name === 'ccResult') return this.wrap(64, this.resultNode(), true)
    const { type } = FIELDS[name]
    if (type === 'i64') return this.wrap(64, this.stateLoad('i64.load', 'i64', name, index), true)
    if (type === 'v128') throw new BugError(`${name} is a vector`)
    const op = { u8: 'i32.load8_u', u16: 'i32.load16_u', i32: 'i32.load' }[type]
    return this.wrap(32, this.stateLoad(op, 'i32', name, index), true)
  }

  setField(name: FieldName, value: Val, index = 0): void {
    if (name === 'gpr' || name === 'ccCarry' || name === 'ccResult') throw new BugError(`${name} is not set as a field`)
    const { type } = FIELDS[name]
    const at = offsetOf(name, index)
    if (name === 'tlbBase') {
      this.tlb = undefined
      this.tlbChanged = true
    }
    if (type === 'i64') return this.f.store('i64.store', this.cpu, this.asI64(value), at)
    const op = { u8: 'i32.store8', u16: 'i32.store16', i32: 'i32.store', v128: '' }[type]
    this.f.store(op, this.cpu, this.clean(value), at)
  }

  reg(index: number, width: Width): Val {
    const node = this.regs.read(index)
    if (width === 64) return this.wrap(64, this.code64 ? node : this.f.pure('i64.extend_i32_u', 'i64', [node]), true)
    const low = this.code64 ? this.f.pure('i32.wrap_i64', 'i32', [node]) : node
    return this.wrap(width, low, width === 32)
  }

  setReg(index: number, value: Val): void {
    switch (value.width) {
      case 8: return this.regs.writePart(index, 0, 8, this.clean(value))
      case 16: return this.regs.writePart(index, 0, 16, this.clean(value))
      default: return this.regs.write(index, this.asI64(value))
    }
  }

  regHigh8(index: number): Val {
    const low = this.raw(this.reg(index, 32))
    return this.wrap(8, this.f.pure('i32.shr_u', 'i32', [low, this.f.i32(8)]), false)
  }

  setRegHigh8(index: number, value: Val): void {
    this.regs.writePart(index, 8, 8, this.clean(value))
  }

  xmm(index: number): Vec {
    return this.vecOf(this.stateLoad('v128.load', 'v128', 'xmm', index))
  }

  setXmm(index: number, value: Vec): void {
    this.f.store('v128.store', this.cpu, this.nodeOf(value), offsetOf('xmm', index))
  }
}

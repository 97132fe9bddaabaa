/**
 * The emitter of translated blocks (tier 1): the meanings of a block's instructions one after the other in one function
 * `(cpu, head record) → exit`.
 *
 * Registers are written through: the state block is right at every instruction boundary, and a value once read or written
 * is kept in a wasm local for later reads. Addresses of records count from the head record.
 */
import { Exit } from '../core/exits'
import type { Helper, Val } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { probeJump } from '../interp/jump-cache'
import { PSEUDO_SLOTS, Rec } from '../interp/record'
import { offsetOf } from '../state/layout'
import { OperandEmitter, type BlockInsn, type BlockLinks, type BlockPlace } from './operand-emitter'
import { WriteThroughRegisters } from './register-file'

/** Table slot of the handler that leaves generated code: what every record of an invalidated page holds. */
export const RESYNC_SLOT = PSEUDO_SLOTS.resync

export class BlockEmitter extends OperandEmitter {
  protected readonly regs: WriteThroughRegisters

  constructor(f: FunctionBuilder, links: BlockLinks, place: BlockPlace) {
    super(f, links, place)
    this.regs = new WriteThroughRegisters(f, this.cpu, this.code64)
  }

  // ── the block ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Adds an instruction. False: the block has ended, nothing may follow. */
  insn(at: BlockInsn): boolean {
    this.translate(at)
    if (this.terminated) return false
    const { ends } = at.insn.row
    if (ends === 'after' || ends === 'leave') {
      this.leaveMode(this.raw(this.nextRip()))
      return false
    }
    if (this.helperCalled) this.leaveIfStale()
    return true
  }

  /** Goes on in tier 0 at a record: instructions that are not translated, and the pseudo-instruction at a block's end. */
  continueInTier0(record: number): void {
    this.spillFlags()
    this.enterRecord(this.recordAt(record))
  }

  /** The block was cut: on at `delta`, through the link of the pseudo-record at `record`. */
  fallThrough(record: number, delta: number, count: number): void {
    this.current = { ...this.current, record, count }
    this.jumpStatic(this.ripAt(delta), delta)
  }

  private enterRecord(record: Node): void {
    const { f } = this
    f.tailCallIndirect(this.links.handlerType, [this.cpu, record], f.load('i32.load', 'i32', record, Rec.handler))
  }

  private recordAt(offset: number): Node {
    return this.f.pure('i32.add', 'i32', [this.f.param(1), this.f.i32(offset)])
  }

  private get rec(): Node {
    return this.recordAt(this.current.record)
  }

  /** A helper may have written to code, this block's too: the next record tells. */
  private leaveIfStale(): void {
    const { f } = this
    const handler = f.load('i32.load', 'i32', f.param(1), this.current.next + Rec.handler)
    f.if(f.pure('i32.eq', 'i32', [handler, f.i32(RESYNC_SLOT)]), this.inArm(() => this.continueInTier0(this.current.next)))
  }

  // ── ways out ──────────────────────────────────────────────────────────────────────────────────────────────────

  protected exitFault(): void {
    this.inArm(() => this.spillFlags())()
    this.f.tailCall(this.links.fault, [this.cpu, this.rec])
  }

  protected leaveTo(target: Node): void {
    this.spillFlags()
    // The cache goes by RIP: code segments must begin at 0.
    if (this.flat) probeJump(this.f, this.cpu, target, this.place.modeKey, (record) => this.chainTo(target, record))
    this.f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  protected leaveMode(target: Node): void {
    const { f } = this
    this.spillFlags()
    // Most instructions that may change the mode do not.
    if (this.flat) {
      const same = f.pure('i32.eq', 'i32', [this.stateLoad('i32.load', 'i32', 'modeKey'), f.i32(this.place.modeKey)])
      f.if(same, () => probeJump(f, this.cpu, target, this.place.modeKey, (record) => this.chainTo(target, record)))
    }
    this.f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  /** Static target: through the record's link where it lies in this page, else by lookup. `delta` NaN: it may wrap. */
  protected jumpStatic(target: Node, delta: number): void {
    const { f } = this
    const offset = this.place.pageOffset + delta
    if (!(offset >= 0 && offset < 4096)) return this.leaveTo(target)
    this.spillFlags()
    const link = f.load('i32.load', 'i32', f.param(1), this.current.record + Rec.link)
    f.if(link, () => {
      if (this.links.hotLoopAfter > 0 && delta <= this.current.delta) this.countLoop(link)
      this.chainTo(target, link)
    })
    f.tailCall(this.links.link, [this.cpu, target, this.rec])
  }

  /** Charges the slice for the block so far and goes on at a known record. */
  private chainTo(target: Node, record: Node): void {
    const { f } = this
    f.store('i64.store', this.cpu, target, offsetOf('blockRip'))
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(this.current.count)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      f.store('i64.store', this.cpu, target, offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
    this.enterRecord(record)
  }

  /** Counts a jump back in the record of the branch, and reports the loop's head once. */
  private countLoop(head: Node): void {
    const { f } = this
    const at = this.current.record + Rec.loops
    const count = f.pure('i32.add', 'i32', [f.load('i32.load', 'i32', f.param(1), at), f.i32(1)])
    f.store('i32.store', f.param(1), count, at)
    f.if(f.pure('i32.eq', 'i32', [count, f.i32(this.links.hotLoopAfter)]), () => {
      f.callIndirect(this.links.handlerType, 'i32', [this.cpu, head], f.i32(this.links.calls.loop))
    })
  }

  checkpoint(): void {
    const { f } = this
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(1)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      this.inArm(() => this.spillFlags())()
      f.store('i32.store', this.cpu, f.pure('i32.sub', 'i32', [left, f.i32(this.current.count - 1)]), offsetOf('sliceLeft'))
      f.store('i64.store', this.cpu, this.raw(this.currentRip()), offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
  }

  protected callExposed(helper: Helper, args: readonly Val[]): Val {
    const nodes = this.helperArguments(helper, args)
    this.settleFlags()
    const result = this.callHelper(helper, nodes)
    this.forgetFlags()
    this.regs.forgetAll()
    this.tlb = undefined
    return this.helperResult(helper, result)
  }
}

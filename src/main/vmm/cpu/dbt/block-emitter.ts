/**
 * The emitter of translated blocks (tier 1): the meanings of a block's instructions one after the other in one function
 * `(cpu, head record) → exit`.
 *
 * Registers are written through: the state block is right at every instruction boundary, and a value once read or written
 * is kept in a wasm local for later reads. Addresses of records count from the head record.
 *
 * Most blocks run too seldom to stay in the host's caches, so what counts is how little code they are: ways out share their
 * end (`build`), and what is hardly ever needed is called.
 */
import { Exit } from '../core/exits'
import type { Helper, Val } from '../emit/emitter'
import type { BlockLabel, FunctionBuilder, Mark, Node } from '../emit/wasm/function'
import type { Bytes, HostPlace } from '../interp/memory-emitter'
import { probeJump } from '../interp/jump-cache'
import { Head, PSEUDO_SLOTS, Rec } from '../interp/record'
import { handlerOf } from '../interp/record-loads'
import { TlbEntry } from '../../mmu/tlb-layout'
import { offsetOf } from '../state/layout'
import { LEAVE_FLAGS_SHIFT } from './flag-code'
import { basedOn, KnownPages, type KnownPage } from './known-pages'
import { FLAGS_IN_MEMORY, type FlagState } from './lazy-flags'
import { InsnEmitter, type BlockLinks } from './insn-emitter'
import type { BlockInsn, BlockPlace } from './state-emitter'
import { WriteThroughRegisters } from './register-file'

/** Table slot of the handler that leaves generated code: what every record of an invalidated page holds. */
export const RESYNC_SLOT = PSEUDO_SLOTS.resync

/** A way out that leads to a record: where it stands in the code, and the flags pending there. */
interface WayOut { readonly mark: Mark; readonly flags: FlagState }

/** Bytes of accesses near one another that are looked at together: one time in 64 at worst they lie in two pages. */
const TOGETHER = 64
/** Jumps back after which a hot loop that still runs on tier 1 is reported again; a power of two. */
const LOOP_REPORTED_EVERY = 1 << 18

export class BlockEmitter extends InsnEmitter {
  protected readonly regs: WriteThroughRegisters
  private readonly ways: WayOut[] = []
  /** Some ways out are links, which may not be made yet. */
  private byLinks = false
  /** Stores and calls written before the instruction. */
  private effectsBefore = 0
  private readonly knownPages = new KnownPages()
  /** The TLB they were found in. */
  private knownIn: Node | undefined
  private enterLabel!: BlockLabel
  /** What the ways out hand over: target address, its record (0: not linked), and the record and count of the instruction that goes there. */
  private readonly target: number
  private readonly record: number
  private readonly from: number
  private readonly count: number

  constructor(f: FunctionBuilder, links: BlockLinks, place: BlockPlace) {
    super(f, links, place)
    this.regs = new WriteThroughRegisters(f, this.cpu, this.code64)
    this.target = f.newLocal('i64')
    this.record = f.newLocal('i32')
    this.from = f.newLocal('i32')
    this.count = f.newLocal('i32')
  }

  // ── the block ─────────────────────────────────────────────────────────────────────────────────────────────────

  protected constantList(): { readonly list: Node; readonly at: number } {
    return { list: this.f.loadConstant('i32.load', 'i32', this.f.param(1), Head.list), at: 0 }
  }

  /** Builds the whole function. @param body adds the instructions and how the block ends */
  build(body: () => void): void {
    const { f } = this
    f.block((enter) => {
      this.enterLabel = enter
      f.block((chain) => {
        f.block((settle) => {
          body()
          this.placeWaysOut(chain, settle)
        })
        this.spillFlagsAnew()
      })
      if (this.ways.length > 0) this.chain()
    })
    const record = f.finalLocal(this.record)
    f.tailCallIndirect(this.links.handlerType, [this.cpu, record], handlerOf(f, record))
  }

  /** Ways out with the flags of the block's end have them stored at one place, others where they stand. */
  private placeWaysOut(chain: BlockLabel, settle: BlockLabel): void {
    const { f } = this
    const last = this.ways.at(-1)?.flags ?? FLAGS_IN_MEMORY
    for (const { mark, flags } of this.ways.reverse()) {
      f.insertAt(mark, this.inArm(() => {
        if (flags === last) return f.jump(settle, 'break')
        this.flagState = flags
        this.spillFlagsAnew()
        f.jump(chain, 'break')
      }))
    }
    this.flagState = last
  }

  /** Charges the slice for the block so far and goes on at the record, which is looked for where it is not known. */
  private chain(): void {
    const { f, cpu } = this
    const [target, record] = [f.finalLocal(this.target), f.finalLocal(this.record)]
    if (this.byLinks) f.unlikely(f.pure('i32.eqz', 'i32', [record]), () => f.tailCall(this.links.link, [cpu, target, f.pure('i32.add', 'i32', [f.param(1), f.finalLocal(this.from)])]))
    f.store('i64.store', cpu, target, offsetOf('blockRip'))
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.finalLocal(this.count)])
    f.store('i32.store', cpu, left, offsetOf('sliceLeft'))
    f.unlikely(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      f.store('i64.store', cpu, target, offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
  }

  /** Adds an instruction. False: the block has ended, nothing may follow. */
  insn(at: BlockInsn): boolean {
    this.effectsBefore = this.f.effects
    this.translate(at)
    if (this.terminated) return false
    const { ends } = at.insn.row
    if (ends === 'after' || ends === 'leave') {
      this.leaveMode(this.raw(this.nextRip()))
      return false
    }
    if (ends === 'changed') this.leaveIfChanged()
    if (this.helperCalled) this.leaveIfStale()
    return true
  }

  /** The code behind is of the mode there was, and holds off who asked generated code to come back. */
  private leaveIfChanged(): void {
    const { f } = this
    const leave = this.inArm(() => {
      this.spillFlags()
      f.tailCall(this.links.goto, [this.cpu, this.raw(this.nextRip()), this.rec])
    })
    f.unlikely(this.isOtherMode(), leave)
    f.unlikely(f.pure('i32.lt_s', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(0)]), leave)
  }

  /** Goes on in tier 0 at a record: instructions that are not translated, and the pseudo-instruction at a block's end. */
  continueInTier0(record: number): void {
    this.spillFlags()
    this.enterRecord(this.recordAt(record))
  }

  /** The block was cut: on at `delta`, through the link of the pseudo-record at `record`. */
  fallThrough(record: number, delta: number, count: number): void {
    this.current = { ...this.current, record, count }
    this.jumpStatic(this.ripAt(delta), delta, 'jump')
  }

  private enterRecord(record: Node): void {
    this.f.setLocal(this.record, record)
    this.f.jump(this.enterLabel, 'break')
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
    const handler = handlerOf(f, f.param(1), this.current.next)
    f.unlikely(f.pure('i32.eq', 'i32', [handler, f.i32(RESYNC_SLOT)]), this.inArm(() => this.continueInTier0(this.current.next)))
  }

  // ── ways out ──────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * An access that misses the TLB is left to tier 0, which begins the instruction again; so is the rest of the block. That can be
   * done as long as no helper was called and the instruction stored nothing (ENTER copies what its own first store may have changed).
   */
  protected override placeOf(linear: Node, bytes: Bytes, write: boolean): HostPlace | undefined {
    if (this.helperCalled || this.f.effects !== this.effectsBefore) return undefined
    if (this.tlb === undefined || this.tlb !== this.knownIn) this.knownPages.forget()
    const based = basedOn(linear)
    const known = this.knownPages.find(based, bytes, write)
    if (known) return this.placeIn(known, linear, based.displacement, bytes)
    const { f } = this
    const { hit, page, host, reach } = this.probe(linear, bytes, write ? TlbEntry.writeTag : TlbEntry.readTag, this.depth === 0)
    f.unlikely(f.pure('i32.eqz', 'i32', [hit]), () => this.exitFault())
    const at = host()
    const { base, displacement } = based
    this.knownIn = this.tlb
    if (this.depth === 0) {
      const reachUp = reach && ((last: number) => { reach(last - displacement + 1) })
      this.knownPages.add(base, { page, host: at, displacement, writable: write, low: displacement, high: displacement + bytes - 1, reachUp, reachDown: undefined })
    }
    return { host: at, offset: 0 }
  }

  /**
   * Bytes in or near a page that an access before has found. Within some bytes the comparison made there looks at these too: the accesses
   * of a sequence, of pushes say, have one or two of them together, and where it fails tier 0 does them all.
   */
  private placeIn(known: KnownPage, linear: Node, displacement: number, bytes: Bytes): HostPlace {
    const { f } = this
    const [low, high] = [Math.min(displacement, known.low), Math.max(displacement + bytes - 1, known.high)]
    const together = this.depth === 0 && high - low < TOGETHER
    if (low < known.low) {
      if (together && known.reachDown) known.reachDown(low)
      else {
        const set = this.leaveUnlessIn(known.page, linear, 0)
        if (together) known.reachDown = (first) => { set(first - displacement) }
      }
    }
    if (high > known.high) {
      if (together && known.reachUp) known.reachUp(high)
      else this.leaveUnlessIn(known.page, linear, bytes - 1)
    }
    if (this.depth === 0) Object.assign(known, { low, high })
    const offset = displacement - known.displacement
    if (offset >= 0) return { host: known.host, offset }
    return { host: f.pure('i32.add', 'i32', [known.host, f.i32(offset)]), offset: 0 }
  }

  /** @param offset of the byte looked at from the address. @returns what changes it */
  private leaveUnlessIn(page: Node, linear: Node, offset: number): (offset: number) => void {
    const { f } = this
    const narrow = page.type === 'i32'
    const { sum: at, set } = f.adjustableSum(narrow ? linear.args[0] : linear, offset)
    const itsPage = narrow ? f.pure('i32.and', 'i32', [at, f.i32(-4096)]) : f.pure('i64.and', 'i64', [at, f.i64(-4096n)])
    f.unlikely(f.pure(narrow ? 'i32.ne' : 'i64.ne', 'i32', [itsPage, page]), () => this.exitFault())
    return set
  }

  /** The pending exception, or the instruction again on tier 0. What is pending of the flags is computed there: many places leave, few do. */
  protected exitFault(): void {
    this.inArm(() => {
      const { f, cpu } = this
      const flags = this.packedFlags()
      if (!flags) return f.tailCall(this.links.fault, [cpu, this.rec])
      const packed = this.current.record | (flags.code << LEAVE_FLAGS_SHIFT)
      f.tailCall(this.links.leave, [cpu, f.param(1), f.i32(packed), flags.a, flags.b])
    })()
  }

  protected leaveTo(target: Node): void {
    this.spillFlags()
    if (this.links.hotLoopAfter > 0 && this.isDynamicJump) this.f.store('i32.store', this.f.param(1), this.f.pure('i32.wrap_i64', 'i32', [target]), this.current.record + Rec.went)
    // The cache goes by RIP: code segments must begin at 0.
    if (this.flat) probeJump(this.f, this.cpu, target, this.place.modeKey, (record) => this.chainTo(target, record, FLAGS_IN_MEMORY))
    this.f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  protected leaveMode(target: Node): void {
    const { f } = this
    this.spillFlags()
    // Most instructions that may change the mode do not.
    if (this.flat) {
      const same = f.pure('i32.eq', 'i32', [this.stateLoad('i32.load', 'i32', 'modeKey'), f.i32(this.place.modeKey)])
      f.likely(same, () => probeJump(f, this.cpu, target, this.place.modeKey, (record) => this.chainTo(target, record, FLAGS_IN_MEMORY)))
    }
    this.f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  /** Static target: through the record's link where it lies in this page, else by lookup. `delta` NaN: it may wrap. */
  protected jumpStatic(target: Node, delta: number, kind: 'branch' | 'jump' | 'call'): void {
    const { f } = this
    const offset = this.place.pageOffset + delta
    if (!(offset >= 0 && offset < 4096)) return kind !== 'call' && delta <= this.current.delta ? this.loopBack(target) : this.leaveTo(target)
    const link = f.load('i32.load', 'i32', f.param(1), this.current.record + Rec.link)
    this.byLinks = true
    if (this.links.hotLoopAfter > 0 && delta <= this.current.delta) f.if(link, () => this.countLoop(target, link))
    this.chainTo(target, link, this.flagState)
  }

  /** A jump back to another page. */
  private loopBack(target: Node): void {
    const { f } = this
    this.spillFlags()
    if (this.flat) {
      probeJump(f, this.cpu, target, this.place.modeKey, (record) => {
        if (this.links.hotLoopAfter > 0) this.countLoop(target, record)
        this.chainTo(target, record, FLAGS_IN_MEMORY)
      })
    }
    f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  /** The jump's target is known at run time only, and it is no return. */
  private get isDynamicJump(): boolean {
    const { row, operands } = this.current.insn
    return (row.mnemonic === 'CALL' || row.mnemonic === 'JMP') && !operands.some(({ kind }) => kind === 'rel')
  }

  /** @param record 0 where it is not linked yet @param flags what is pending */
  private chainTo(target: Node, record: Node, flags: FlagState): void {
    const { f } = this
    f.setLocal(this.target, target)
    f.setLocal(this.record, record)
    f.setLocal(this.count, f.i32(this.current.count))
    f.setLocal(this.from, f.i32(this.current.record))
    this.ways.push({ mark: f.mark(), flags })
  }

  /** Counts a jump back in the head record, and reports the loop's head: again where it goes on for long. */
  private countLoop(target: Node, head: Node): void {
    const { f } = this
    const count = f.pure('i32.add', 'i32', [f.load('i32.load', 'i32', f.param(1), Head.loops), f.i32(1)])
    f.store('i32.store', f.param(1), count, Head.loops)
    f.unlikely(f.pure('i32.eq', 'i32', [f.pure('i32.and', 'i32', [count, f.i32(LOOP_REPORTED_EVERY - 1)]), f.i32(this.links.hotLoopAfter)]), () => {
      f.call(this.links.report, 'i32', [this.cpu, target, head])
    })
  }

  checkpoint(): void {
    const { f } = this
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(1)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.unlikely(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
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

/**
 * What a region keeps in wasm locals, and how it is left: general registers, flags, what is left of the slice and the TLB in force.
 *
 * Every way out goes to one place behind the code, which stores what the region may have changed: `xrip` holds where the
 * guest goes on, `xkind` how. Flags cross jumps as their operands (`fk` says what they are) and are only computed there.
 */
import { Exit } from '../core/exits'
import type { Helper, Val } from '../emit/emitter'
import type { BlockLabel, FunctionBuilder, Mark, Node } from '../emit/wasm/function'
import type { Probe } from '../emit/wasm/tlb-probe'
import type { AccessPath, Bytes, SlowPath } from '../interp/memory-emitter'
import { probeJump } from '../interp/jump-cache'
import { handlerOf } from '../interp/record-loads'
import { TlbEntry } from '../../mmu/tlb-layout'
import { offsetOf, type FieldName } from '../state/layout'
import { RESYNC_SLOT } from './block-emitter'
import { FlagCode } from './flag-code'
import { InsnEmitter, type BlockLinks } from './insn-emitter'
import { RecentPages } from './recent-pages'
import { LocalRegisters } from './register-file'
import type { BlockPlace } from './state-emitter'

export interface RegionLinks extends BlockLinks {
  /** (fk, fa, fb) → `ccCarry`, and `ccResult`. */
  readonly flagCarry: number
  readonly flagResult: number
  /** (cpu, fk, fa, fb): stores both. */
  readonly storeFlags: number
  /** (cpu, rip, 0) → exit: finds code for an address and runs it. */
  readonly lookup: number
}

/** How a region is left. */
export const Kind = { STOP: 0, FAULT: 1, GOTO: 2, MODE: 3 } as const

export abstract class RegionState extends InsnEmitter {
  protected readonly regs: LocalRegisters
  protected readonly left: number
  private readonly fk: number
  private readonly fa: number
  private readonly fb: number
  private readonly xrip: number
  private readonly xkind: number
  private readonly tlbLocal: number
  protected readonly recentPages: RecentPages
  protected exitLabel!: BlockLabel
  /** Instructions of the running block that were charged but not yet executed, this one included. */
  protected uncharged = 0
  /** Places where registers must be stored or loaded, once it is known which. */
  protected readonly syncs: { readonly mark: Mark; readonly store: boolean }[] = []

  constructor(f: FunctionBuilder, private readonly regionLinks: RegionLinks, place: BlockPlace) {
    super(f, regionLinks, place)
    this.regs = new LocalRegisters(f, this.code64)
    this.recentPages = new RecentPages(f)
    this.left = f.newLocal('i32')
    this.fk = f.newLocal('i32')
    this.fa = f.newLocal('i64')
    this.fb = f.newLocal('i64')
    this.xrip = f.newLocal('i64')
    this.xkind = f.newLocal('i32')
    this.tlbLocal = f.newLocal('i32')
  }

  // ── state that lives in locals ────────────────────────────────────────────────────────────────────────────────

  protected loadRest(): void {
    const { f } = this
    f.setLocal(this.left, this.stateLoad('i32.load', 'i32', 'sliceLeft'))
    f.setLocal(this.fk, f.i32(FlagCode.RAW))
    f.setLocal(this.fa, this.stateLoad('i64.load', 'i64', 'ccCarry'))
    f.setLocal(this.fb, this.stateLoad('i64.load', 'i64', 'ccResult'))
    f.setLocal(this.tlbLocal, this.stateLoad('i32.load', 'i32', 'tlbBase'))
  }

  /** What is in the flags' locals: a code and two operands. */
  private get keptFlags(): Node[] {
    return [this.fk, this.fa, this.fb].map((local) => this.f.getLocal(local))
  }

  private storeFlags(): void {
    this.f.call(this.regionLinks.storeFlags, 'i32', [this.cpu, ...this.keptFlags])
  }

  protected override stored(name: 'ccCarry' | 'ccResult'): Node {
    const { flagCarry, flagResult } = this.regionLinks
    return this.f.callPure(name === 'ccCarry' ? flagCarry : flagResult, 'i64', this.keptFlags)
  }

  /** Brings pending flags into the locals: as operands where they follow from those, else as carry and result. */
  protected override spillFlags(): void {
    const { f } = this
    const packed = this.packedFlags()
    if (!packed) return
    f.setLocal(this.fk, f.i32(packed.code))
    f.setLocal(this.fa, packed.a)
    f.setLocal(this.fb, packed.b)
  }

  protected override tlbBase(): Node {
    return this.f.getLocal(this.tlbLocal)
  }

  override setField(name: FieldName, value: Val, index = 0): void {
    super.setField(name, value, index)
    if (name !== 'tlbBase') return
    this.f.setLocal(this.tlbLocal, this.clean(value))
    this.recentPages.invalidate()
  }

  protected override probe(linear: Node, bytes: Bytes, tagOffset: number): Probe {
    return this.recentPages.probe(linear, bytes, tagOffset === TlbEntry.writeTag, this.depth === 0, () => super.probe(linear, bytes, tagOffset))
  }

  // ── ways out ────────────────────────────────────────────────────────────────────────────────────────────────────

  protected leaveFunction(): void {
    const { f } = this
    this.regs.storeAll(this.cpu)
    this.storeFlags()
    const left = f.getLocal(this.left)
    const rip = f.getLocal(this.xrip)
    const kind = f.getLocal(this.xkind)
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    const goesOn = f.pure('i32.ge_u', 'i32', [kind, f.i32(Kind.GOTO)])
    f.likely(goesOn, () => f.likely(f.pure('i32.ge_s', 'i32', [left, f.i32(0)]), () => this.leaveFor(rip, kind)))
    f.store('i64.store', this.cpu, rip, offsetOf('rip'))
    f.if(f.pure('i32.ne', 'i32', [kind, f.i32(Kind.FAULT)]), () => f.return(f.i32(Exit.SLICE)))
    const pending = f.pure('i32.ge_s', 'i32', [this.stateLoad('i32.load', 'i32', 'faultVector'), f.i32(0)])
    f.return(f.pure('select', 'i32', [f.i32(Exit.FAULT), f.i32(Exit.AGAIN), pending]))
  }

  /** Goes on at an address, by the jump cache where the mode is the same. */
  private leaveFor(rip: Node, kind: Node): void {
    const { f } = this
    if (this.flat) {
      f.if(f.pure('i32.eq', 'i32', [kind, f.i32(Kind.GOTO)]), () => probeJump(f, this.cpu, rip, this.place.modeKey, (record) => {
        f.store('i64.store', this.cpu, rip, offsetOf('blockRip'))
        f.tailCallIndirect(this.links.handlerType, [this.cpu, record], handlerOf(f, record))
      }))
    }
    f.tailCall(this.regionLinks.lookup, [this.cpu, rip, f.i32(0)])
  }

  /** @param executed instructions of the running block that are done, counted from its end: those still charged come back */
  protected exit(kind: number, rip: Node, unexecuted: number): void {
    const { f } = this
    this.spillFlags()
    f.setLocal(this.xrip, rip)
    f.setLocal(this.xkind, f.i32(kind))
    if (unexecuted !== 0) f.setLocal(this.left, f.pure('i32.add', 'i32', [f.getLocal(this.left), f.i32(unexecuted)]))
    f.jump(this.exitLabel, 'break')
  }

  protected exitFault(): void {
    this.inArm(() => { this.exit(Kind.FAULT, this.raw(this.currentRip()), this.uncharged) })()
  }

  /** The lookup a region ends with goes by the mode in force. */
  protected leaveMode(target: Node): void {
    this.exit(Kind.MODE, target, this.uncharged - 1)
  }

  /** The code behind is of the mode there was, and holds off who asked generated code to come back. */
  protected leaveIfChanged(): void {
    const { f } = this
    const leave = this.inArm(() => { this.leaveMode(this.raw(this.nextRip())) })
    f.unlikely(this.isOtherMode(), leave)
    f.unlikely(f.pure('i32.lt_s', 'i32', [f.getLocal(this.left), f.i32(0)]), leave)
  }

  checkpoint(): void {
    const { f } = this
    const left = f.pure('i32.sub', 'i32', [f.getLocal(this.left), f.i32(1)])
    f.setLocal(this.left, left)
    f.unlikely(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), this.inArm(() => this.exit(Kind.STOP, this.raw(this.currentRip()), this.uncharged)))
  }

  /** A helper may have written to code of this page: the head record tells. */
  protected leaveIfStale(): void {
    const { f } = this
    const handler = handlerOf(f, f.param(1))
    f.unlikely(f.pure('i32.eq', 'i32', [handler, f.i32(RESYNC_SLOT)]),
      this.inArm(() => this.exit(Kind.STOP, this.raw(this.nextRip()), this.uncharged - 1)))
  }

  // ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What is called may ask for the slice to end, or how much of it was used. */
  private aroundCall(call: () => Node): Node {
    const { f } = this
    f.store('i32.store', this.cpu, f.getLocal(this.left), offsetOf('sliceLeft'))
    const result = call()
    f.setLocal(this.left, this.stateLoad('i32.load', 'i32', 'sliceLeft'))
    return result
  }

  protected override callSlow(path: SlowPath, args: readonly Node[]): Node {
    return this.aroundCall(() => super.callSlow(path, args))
  }

  protected override callAccess(path: AccessPath, linear: Node, access: Node, slot: number): Node {
    const status = this.aroundCall(() => super.callAccess(path, linear, access, slot))
    this.recentPages.invalidate()
    return status
  }

  protected callExposed(helper: Helper, args: readonly Val[]): Val {
    const { f } = this
    const nodes = this.helperArguments(helper, args)
    this.spillFlags()
    this.storeFlags()
    this.syncs.push({ mark: f.mark(), store: true })
    const result = this.aroundCall(() => this.callHelper(helper, nodes))
    this.forgetFlags()
    this.regs.forgetAll()
    this.syncs.push({ mark: f.mark(), store: false })
    this.loadRest()
    this.recentPages.invalidate()
    return this.helperResult(helper, result)
  }
}

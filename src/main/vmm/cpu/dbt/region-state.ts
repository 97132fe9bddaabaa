/**
 * What a region keeps in wasm locals, and how it is left: general registers, flags, what is left of the slice and the TLB in force.
 *
 * Every way out goes to one place behind the code, which stores what the region may have changed: `xrip` holds where the
 * guest goes on, `xkind` how. Flags cross jumps as their operands (`fk` says what they are) and are only computed there.
 */
import { Exit } from '../core/exits'
import type { FlagsKind, Helper, Val, Width } from '../emit/emitter'
import type { BlockLabel, FunctionBuilder, Mark, Node } from '../emit/wasm/function'
import type { Probe } from '../emit/wasm/tlb-probe'
import type { AccessPath, Bytes, SlowPath } from '../interp/memory-emitter'
import { probeJump } from '../interp/jump-cache'
import { Rec } from '../interp/record'
import { TlbEntry } from '../../mmu/tlb-layout'
import { offsetOf, type FieldName } from '../state/layout'
import { RESYNC_SLOT } from './block-emitter'
import { FlagCode, flagCode } from './flag-code'
import { InsnEmitter, type BlockLinks } from './insn-emitter'
import { RecentPages } from './recent-pages'
import { LocalRegisters } from './register-file'
import type { BlockPlace } from './state-emitter'

export interface RegionLinks extends BlockLinks {
  /** (fk, fa, fb, fr) → `ccCarry`. */
  readonly flagCarry: number
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
  private readonly fr: number
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
    this.fr = f.newLocal('i64')
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
    f.setLocal(this.fr, this.stateLoad('i64.load', 'i64', 'ccResult'))
    f.setLocal(this.tlbLocal, this.stateLoad('i32.load', 'i32', 'tlbBase'))
  }

  private storeFlags(): void {
    const { f } = this
    f.store('i64.store', this.cpu, this.stored('ccCarry'), offsetOf('ccCarry'))
    f.store('i64.store', this.cpu, f.getLocal(this.fr), offsetOf('ccResult'))
  }

  protected override stored(name: 'ccCarry' | 'ccResult'): Node {
    const { f } = this
    if (name === 'ccResult') return f.getLocal(this.fr)
    return f.callPure(this.regionLinks.flagCarry, 'i64', [f.getLocal(this.fk), f.getLocal(this.fa), f.getLocal(this.fb), f.getLocal(this.fr)])
  }

  /** Brings pending flags into the locals: as operands where they come from one instruction, else as carry and result. */
  protected override spillFlags(): void {
    const { carry, result, source } = this.flagState
    const { f } = this
    if (!carry && !result) return
    if (carry && result && source && source.kind !== 'result' && source.kind !== 'rflags') return this.spillSource(source.kind, source)
    // `fr` is part of what the carry is computed from, so the carry comes first.
    const carryValue = carry?.make() ?? this.stored('ccCarry')
    const resultValue = result?.make()
    f.setLocal(this.fk, f.i32(FlagCode.RAW))
    f.setLocal(this.fa, carryValue)
    if (resultValue) f.setLocal(this.fr, resultValue)
  }

  private spillSource(kind: FlagsKind, source: { readonly a: Val; readonly b: Val; readonly result: Val; readonly old?: { readonly make: () => Node } }): void {
    const { f } = this
    const widened = (v: Val): Node => (v.width === 64 ? this.raw(v) : f.pure('i64.extend_i32_u', 'i64', [this.raw(v)]))
    const result = this.raw(this.sext(source.result, 64))
    const second = source.old ? source.old.make() : widened(source.b)
    f.setLocal(this.fk, f.i32(flagCode(kind, source.result.width as Width)))
    if (kind !== 'logic') {
      f.setLocal(this.fa, widened(source.a))
      f.setLocal(this.fb, second)
    }
    f.setLocal(this.fr, result)
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
    f.likely(f.pure('i32.and', 'i32', [goesOn, f.pure('i32.ge_s', 'i32', [left, f.i32(0)])]), () => this.leaveFor(rip, kind))
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
        f.tailCallIndirect(this.links.handlerType, [this.cpu, record], f.load('i32.load', 'i32', record, Rec.handler))
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

  checkpoint(): void {
    const { f } = this
    const left = f.pure('i32.sub', 'i32', [f.getLocal(this.left), f.i32(1)])
    f.setLocal(this.left, left)
    f.unlikely(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), this.inArm(() => this.exit(Kind.STOP, this.raw(this.currentRip()), this.uncharged)))
  }

  /** A helper may have written to code of this page: the head record tells. */
  protected leaveIfStale(): void {
    const { f } = this
    const handler = f.load('i32.load', 'i32', f.param(1), Rec.handler)
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

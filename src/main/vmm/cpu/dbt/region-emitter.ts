/**
 * The emitter of regions (tier 2): the loops around a place in one wasm function with real wasm loops, general registers and
 * flags in wasm locals. The host's compiler then keeps what matters in its own registers over the whole loop nest.
 * Calls and returns within the region are jumps: what is pushed is what the guest would find there, and a return goes on in
 * the region where it pops the address of a place in it.
 *
 * Where the code lies in further pages, the entry looks whether those stand now where they stood when it was translated; the way into one
 * that does not leaves the region.
 */
import type { BlockLabel, FunctionBuilder, LoopLabel, Node } from '../emit/wasm/function'
import { findCode } from '../interp/glue'
import type { OperandPlace } from '../interp/places'
import { Head } from '../interp/record'
import type { Form } from '../isa/types'
import { offsetOf } from '../state/layout'
import { FLAGS_IN_MEMORY } from './lazy-flags'
import { fallsThrough, pagesOf, type Region, type RegionBlock, type Segment } from './region'
import type { Scope } from './region-nest'
import { Kind, RegionState, type RegionLinks } from './region-state'
import type { BlockInsn, BlockPlace } from './state-emitter'

type Label = LoopLabel | BlockLabel

export class RegionEmitter extends RegionState {
  /** A bit for each further page that stands where it is expected. */
  private readonly pagesHere: number
  private readonly labels = new Map<Scope, Label>()
  private segment!: Segment
  private nextScope = 0
  /** With several segments: the one to go on with, the loop that switches, and the segments that can be reached by leaving blocks. */
  private readonly next: number
  private switchLoop: LoopLabel | undefined
  private readonly ahead = new Map<Segment, BlockLabel>()
  private blockIndex = 0
  /** Address of the list that the head record names. */
  private readonly list: number

  constructor(
    f: FunctionBuilder, links: RegionLinks, place: BlockPlace, private readonly region: Region,
    private readonly placesOf: (form: Form) => readonly OperandPlace[],
  ) {
    super(f, links, place)
    this.next = f.newLocal('i32')
    this.pagesHere = f.newLocal('i32')
    this.list = f.newLocal('i32')
  }

  /** Builds the whole function. */
  build(): void {
    const { f } = this
    const { segments, blocks } = this.region
    const entry = f.mark()
    f.block((label) => {
      this.exitLabel = label
      if (blocks[0].offset === this.place.pageOffset && segments.length === 1) this.emitSegment(segments[0])
      else this.switchSegments(segments)
    })
    this.leaveFunction()
    for (const { mark, store } of this.syncs.reverse()) {
      f.insertAt(mark, () => (store ? this.regs.storeAll(this.cpu) : this.regs.loadAll(this.cpu)))
    }
    f.insertAt(entry, () => {
      this.regs.loadAll(this.cpu)
      this.loadRest()
      this.chooseEntry()
      if (this.region.pages.length > 0 || this.place.constants.places.length > 0) f.setLocal(this.list, f.load('i32.load', 'i32', f.param(1), Head.list))
      this.lookAtPages()
    })
  }

  /** The constants stand behind the further pages' maps. */
  protected constantList(): { readonly list: Node; readonly at: number } {
    return { list: this.f.getLocal(this.list), at: 4 * this.region.pages.length }
  }

  // ── structure ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Where the function is entered in the region: its head record tells. Addresses count from the region's head all the same. */
  private chooseEntry(): void {
    const { f, region: { entries, segments, at } } = this
    if (!this.switchLoop) return
    const numberAt = (offset: number): Node => f.i32(segments.findIndex(({ start }) => start === at.get(offset)))
    f.setLocal(this.next, numberAt(entries[0]))
    if (entries.length === 1) return
    const offset = f.load('i32.load16_u', 'i32', f.param(1), Head.pageOffset)
    for (const entry of entries.slice(1)) f.if(f.pure('i32.eq', 'i32', [offset, f.i32(entry)]), () => f.setLocal(this.next, numberAt(entry)))
    const past = f.pure('i64.extend_i32_s', 'i64', [f.pure('i32.sub', 'i32', [offset, f.i32(this.place.pageOffset)])])
    f.store('i64.store', this.cpu, f.pure('i64.sub', 'i64', [this.stateLoad('i64.load', 'i64', 'blockRip'), past]), offsetOf('blockRip'))
  }

  /** Sets a bit for each further page that the code lookup knows at its address, and that has the code it had. */
  private lookAtPages(): void {
    const { f, region: { pages } } = this
    if (pages.length === 0) return
    const expected = f.getLocal(this.list)
    const home = f.pure('i64.and', 'i64', [this.stateLoad('i64.load', 'i64', 'blockRip'), f.i64(-4096n)])
    const bits = pages.map((page, i) => {
      const linear = this.narrowed(f.pure('i64.add', 'i64', [home, f.i64(BigInt(page) * 4096n)]))
      const { found, map } = findCode(f, this.cpu, linear)
      const same = f.pure('i32.eq', 'i32', [map, f.load('i32.load', 'i32', expected, 4 * i)])
      return f.pure('i32.shl', 'i32', [f.pure('i32.and', 'i32', [found, same]), f.i32(i)])
    })
    f.setLocal(this.pagesHere, bits.reduce((all, bit) => f.pure('i32.or', 'i32', [all, bit])))
  }

  /** Legacy modes: addresses have 32 bits. */
  private narrowed(address: Node): Node {
    return this.code64 ? address : this.f.pure('i64.and', 'i64', [address, this.f.i64(0xffff_ffffn)])
  }

  /** True where the pages of a block stand as expected; undefined where that is known in the block it is reached from. */
  private mayEnter(to: number): Node | undefined {
    const { f, region: { blocks, pages } } = this
    const here = pagesOf(blocks[this.blockIndex])
    const needed = pagesOf(blocks[to]).filter((page) => page !== 0 && !here.includes(page))
    if (needed.length === 0) return undefined
    const bits = f.i32(needed.reduce((all, page) => all | (1 << pages.indexOf(page)), 0))
    return f.pure('i32.eq', 'i32', [f.pure('i32.and', 'i32', [f.getLocal(this.pagesHere), bits]), bits])
  }

  /** Each segment stands behind the end of a block of its own, so that what comes before can leave for it. */
  private switchSegments(segments: readonly Segment[]): void {
    const { f } = this
    const labels: BlockLabel[] = []
    const upTo = (last: number): void => f.block((label) => {
      labels[last] = label
      this.ahead.set(segments[last], label)
      if (last === 0) return f.switch(f.getLocal(this.next), labels)
      upTo(last - 1)
      this.ahead.delete(segments[last - 1])
      this.emitSegment(segments[last - 1])
    })
    f.loop((label) => {
      this.switchLoop = label
      upTo(segments.length - 1)
      this.ahead.clear()
      this.emitSegment(segments[segments.length - 1])
    })
  }

  private emitSegment(segment: Segment): void {
    this.segment = segment
    this.nextScope = 0
    this.range(segment.start, segment.end)
  }

  private range(start: number, end: number): void {
    const { scopes } = this.segment
    for (let i = start; i < end;) {
      const scope = scopes[this.nextScope] as Scope | undefined
      if (scope?.start === i) {
        this.nextScope++
        this.open(scope)
        i = scope.end
      } else this.emitBlock(i++)
    }
  }

  private open(scope: Scope): void {
    const { f } = this
    if (scope.kind === 'block') {
      f.block((label) => {
        this.labels.set(scope, label)
        this.range(scope.start, scope.end)
      })
    } else {
      f.loop((label) => {
        this.labels.set(scope, label)
        this.range(scope.start, scope.end)
        f.jump(label, 'break')
      })
    }
    this.labels.delete(scope)
  }

  /** True where jumps lead to a block: then nothing is known at its beginning. */
  private isTarget(index: number): boolean {
    const { segments } = this.region
    return segments.some(({ start }) => start === index) ||
      this.segment.scopes.some((scope) => (scope.kind === 'loop' ? scope.start === index : scope.end === index))
  }

  private emitBlock(index: number): void {
    const block = this.region.blocks[index]
    if (index === 0 || this.isTarget(index) || !fallsThrough(this.region.blocks[index - 1])) {
      this.flagState = FLAGS_IN_MEMORY
      this.regs.forgetAll()
      this.recentPages.forget()
    }
    this.blockIndex = index
    this.terminated = false
    const { f } = this
    f.setLocal(this.left, f.pure('i32.sub', 'i32', [f.getLocal(this.left), f.i32(block.insns.length)]))
    block.insns.forEach(({ insn, offset }, i) => {
      if (this.terminated) return
      this.uncharged = block.insns.length - i
      this.insn({ insn, places: this.placesOf(insn.form), record: 0, next: 0, delta: offset - this.place.pageOffset, count: 0 })
    })
    if (!this.terminated && fallsThrough(block)) this.fallThrough(block, index)
  }

  private insn(at: BlockInsn): void {
    this.translate(at)
    if (this.terminated) return
    const { ends } = at.insn.row
    if (ends === 'after' || ends === 'leave') {
      this.leaveMode(this.raw(this.nextRip()))
      this.terminated = true
      return
    }
    if (ends === 'changed') this.leaveIfChanged()
    if (this.helperCalled) this.leaveIfStale()
  }

  private fallThrough(block: RegionBlock, index: number): void {
    const { f } = this
    const next = this.region.blocks[index + 1] as RegionBlock | undefined
    this.uncharged = 1
    if (next?.offset !== block.end) {
      const delta = block.end - this.place.pageOffset
      return this.jumpStatic(this.ripAt(delta), delta, 'jump')
    }
    const may = this.mayEnter(index + 1)
    if (may) f.unlikely(f.pure('i32.eqz', 'i32', [may]), this.inArm(() => this.exit(Kind.GOTO, this.addressOfBlock(index + 1), 0)))
    if (this.isTarget(index + 1)) this.settleFlags()
  }

  private addressOfBlock(index: number): Node {
    return this.narrowed(this.ripAt(this.region.blocks[index].offset - this.place.pageOffset))
  }

  // ── jumps ─────────────────────────────────────────────────────────────────────────────────────────────────────

  protected leaveTo(target: Node): void {
    const { f } = this
    for (const place of this.region.goes.get(this.blockIndex) ?? []) {
      const address = this.addressOfBlock(place)
      const same = f.pure('i64.eq', 'i32', [target, address])
      const may = this.mayEnter(place)
      f.if(may ? f.pure('i32.and', 'i32', [same, may]) : same, this.inArm(() => this.goToSegment(place, address)))
    }
    this.exit(Kind.GOTO, target, this.uncharged - 1)
  }

  protected jumpStatic(target: Node, delta: number, kind: 'branch' | 'jump' | 'call'): void {
    const { f } = this
    const to = Number.isNaN(delta) ? undefined : this.region.at.get(this.place.pageOffset + delta)
    if (to === undefined) return this.exit(Kind.GOTO, target, this.uncharged - 1)
    const may = this.mayEnter(to)
    if (may) f.unlikely(f.pure('i32.eqz', 'i32', [may]), this.inArm(() => this.exit(Kind.GOTO, target, this.uncharged - 1)))
    const scope = kind === 'call' ? undefined : this.scopeOf(to)
    const label = scope && this.labels.get(scope)
    if (!scope || !label) return this.goToSegment(to, target)
    this.spillFlags()
    if (scope.kind === 'block') return f.jump(label, 'break')
    this.stopIfOver(target)
    f.jump(label, 'continue')
  }

  /** To the first block of a segment; leaves the function where the block is not one. */
  private goToSegment(to: number, target: Node): void {
    const { f, region: { segments } } = this
    const number = segments.findIndex(({ start }) => start === to)
    const label = number < 0 ? undefined : this.ahead.get(segments[number])
    if (number < 0 || (!label && !this.switchLoop)) return this.exit(Kind.GOTO, target, this.uncharged - 1)
    this.spillFlags()
    if (label) return f.jump(label, 'break')
    f.setLocal(this.next, f.i32(number))
    this.stopIfOver(target)
    f.jump(this.switchLoop as LoopLabel, 'continue')
  }

  /** Before a jump back: the slice may be over. */
  private stopIfOver(target: Node): void {
    const { f } = this
    const over = f.pure('i32.lt_s', 'i32', [f.getLocal(this.left), f.i32(0)])
    f.unlikely(over, this.inArm(() => this.exit(Kind.STOP, target, this.uncharged - 1)))
  }

  /** The open scope whose label leads to a block. */
  private scopeOf(to: number): Scope | undefined {
    const forward = to > this.blockIndex
    return this.segment.scopes.find((scope) => this.labels.has(scope) &&
      (forward ? scope.kind === 'block' && scope.end === to : scope.kind === 'loop' && scope.start === to))
  }
}

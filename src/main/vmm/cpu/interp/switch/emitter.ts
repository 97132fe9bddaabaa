/**
 * The emitter of a case of tier 0's switch: an instruction's common way alone. Whatever is not common (an access that misses the
 * TLB, a segment with limits, an exception) leaves, before anything was changed, for the form's handler, which does it all.
 */
import { BugError } from '../../../errors'
import type { Val } from '../../emit/emitter'
import type { BlockLabel, FunctionBuilder, LoopLabel, Node } from '../../emit/wasm/function'
import type { Form } from '../../isa/types'
import { TlbEntry } from '../../../mmu/tlb-layout'
import { HandlerEmitter, type HandlerLinks } from '../handler-emitter'
import { probeJumpOfMode } from '../jump-cache'
import type { Bytes, HostPlace, WMem } from '../memory-emitter'
import type { OperandPlace } from '../places'
import { offsetOf } from '../../state/layout'
import { RECORD_SIZE } from '../record'
import { countOf } from '../record-loads'

/**
 * The switch around the cases. What every case would need again and again (calls through the table, the end of a slice) stands
 * behind the switch once, with its operands in locals.
 */
export interface SwitchFrame {
  /** Local (i32): record of the running instruction. */
  readonly rec: number
  /** Local (i32): what is left of the slice when a block is entered. */
  readonly left: number
  /** Local (i64): where a jump goes that has no record yet. */
  readonly target: number
  /** Local (i32): table slot of the handler to go to. */
  readonly slot: number
  /** Continued at: the instruction of a record. */
  readonly next: LoopLabel
  /** Left to: a block's head. */
  readonly head: BlockLabel
  /** Left to: the handler in `slot`; `link` and `goto` with `target`. */
  readonly aside: BlockLabel
  readonly link: BlockLabel
  readonly goto: BlockLabel
}

export class SwitchEmitter extends HandlerEmitter {
  private readonly before: number

  /** @param slot of the form's handler in the table */
  constructor(f: FunctionBuilder, links: HandlerLinks, form: Form, places: readonly OperandPlace[], private readonly frame: SwitchFrame, private readonly slot: number) {
    super(f, links, form, places)
    this.before = f.effects
  }

  protected override get rec(): Node {
    return this.f.finalLocal(this.frame.rec)
  }

  /** To the form's handler, which does the instruction from its beginning. */
  private stepAside(): void {
    if (this.f.effects !== this.before) throw new BugError(`${this.form.row.mnemonic} ${this.form.row.encoding} changes something before it may turn out uncommon`)
    this.f.setLocal(this.frame.slot, this.f.i32(this.slot))
    this.f.jump(this.frame.aside, 'break')
  }

  private unless(cond: Node): void {
    this.f.if(this.f.pure('i32.eqz', 'i32', [cond]), () => this.stepAside())
  }

  // ── where the case goes ───────────────────────────────────────────────────────────────────────────────────────

  override raise(vector: number, errorCode?: Val | number): void {
    if (this.f.effects === this.before) this.stepAside()
    else super.raise(vector, errorCode)
  }

  protected override enterBlock(target: Node, record: Node): void {
    const { f } = this
    f.store('i64.store', this.cpu, target, offsetOf('blockRip'))
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), countOf(f, this.rec)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.setLocal(this.frame.left, left)
    f.setLocal(this.frame.rec, record)
    f.jump(this.frame.head, 'break')
  }

  protected override goToNext(): void {
    const { f } = this
    f.setLocal(this.frame.rec, f.pure('i32.add', 'i32', [this.rec, f.i32(RECORD_SIZE)]))
    f.jump(this.frame.next, 'continue')
  }

  /** Links are for targets in the same page. */
  protected override jumpUnlinked(target: Node): void {
    const { f } = this
    const changed = f.pure('i64.xor', 'i64', [this.stateLoad('i64.load', 'i64', 'blockRip'), target])
    const otherPage = f.pure('i64.ne', 'i32', [f.pure('i64.and', 'i64', [changed, f.i64(-4096n)]), f.i64(0n)])
    f.if(otherPage, () => probeJumpOfMode(f, this.cpu, target, (record) => this.enterBlock(target, record)))
    f.setLocal(this.frame.target, target)
    f.jump(this.frame.link, 'break')
  }

  protected override jumpAnywhere(target: Node): void {
    const { f } = this
    probeJumpOfMode(f, this.cpu, target, (record) => this.enterBlock(target, record))
    f.setLocal(this.frame.target, target)
    f.jump(this.frame.goto, 'break')
  }

  // ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Segments with a base, as FS and GS of kernels and threads, are common too; checks are not. */
  protected override linear(mem: WMem): Node {
    const { f } = this
    const { plain } = mem
    if (plain) {
      const result = f.newLocal('i64')
      f.setLocal(result, plain.linear)
      f.if(plain.unless, () => f.setLocal(result, this.linear(plain.otherwise())))
      return f.finalLocal(result)
    }
    if (mem.checked) f.if(mem.checked, () => this.unless(this.isFlat(mem)))
    return f.pure('i64.add', 'i64', [mem.address, mem.segmentBase])
  }

  protected override placeOf(linear: Node, bytes: Bytes, write: boolean): HostPlace {
    const { f } = this
    const at = f.newLocal('i64')
    f.setLocal(at, linear)
    const { hit, host } = this.probe(f.finalLocal(at), bytes, write ? TlbEntry.writeTag : TlbEntry.readTag)
    this.unless(hit)
    return { host: host(), offset: 0 }
  }
}

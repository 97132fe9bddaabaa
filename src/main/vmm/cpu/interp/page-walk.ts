/** A page walk in generated code, as `mmu/walk.ts` does it: 32-bit or 4-level paging over tables in plain RAM. SDM vol. 3, 4.3 and 4.5. */
import { Frame, VISIBLE_MASK } from '../../memory/frame-table'
import { WalkKind } from '../../mmu/walk-kind'
import { A, CR4_PSE, P, PS, RW, US } from '../../mmu/paging-bits'
import { FunctionBuilder, type BlockLabel, type Node } from '../emit/wasm/function'
import type { ValType } from '../emit/wasm/opcodes'
import { offsetOf } from '../state/layout'

/** Bits of an address within a page of 4 MiB, 1 GiB and 2 MiB, without the last 12; and those its table entry must not have. */
const PAGE_4M = { within: 0x3f_f000, reserved: 0x3f_e000 }
const PAGE_1G = { within: 0x3fff_f000, reserved: 0x3fff_e000 }
const PAGE_2M = { within: 0x1f_f000, reserved: 0x1f_e000 }

/** Result of functions that walk, where TypeScript must do it. */
export const LEFT = 0

/** Parameters: the state block's address, the halves of a linear address, and what else there is. */
export abstract class WalkEmitter {
  protected readonly f: FunctionBuilder
  protected readonly cpu: Node
  protected readonly lo: Node
  protected readonly hi: Node
  /** Of the leaf: lower half of the entry, its address and its page's frame entry; address bits within the page; rights of the path. */
  protected readonly leaf: number
  protected readonly leafAt: number
  protected readonly leafFrame: number
  protected readonly within: number
  protected readonly rights: number
  private readonly table: number

  constructor(params: readonly ValType[]) {
    const f = this.f = new FunctionBuilder(params)
    this.cpu = f.param(0)
    this.lo = f.param(1)
    this.hi = f.param(2)
    const local = (): number => f.newLocal('i32')
    ;[this.leaf, this.leafAt, this.leafFrame, this.within, this.rights, this.table] = [local(), local(), local(), local(), local(), local()]
  }

  /** What becomes of an entry that is not present. */
  protected abstract missing(condition: Node): void

  /** Bits of an entry's upper half with which TypeScript walks. */
  protected refused(): Node {
    return this.field('walkReserved')
  }

  protected op(op: string, ...args: readonly (Node | number)[]): Node {
    return this.f.pure(`i32.${op}`, 'i32', args.map((arg) => (typeof arg === 'number' ? this.f.i32(arg) : arg)))
  }

  protected and(a: Node, b: Node | number): Node { return this.op('and', a, b) }

  protected field(name: Parameters<typeof offsetOf>[0], index = 0): Node {
    return this.f.load('i32.load', 'i32', this.cpu, offsetOf(name, index))
  }

  protected giveUpIf(condition: Node): void {
    this.f.if(condition, () => this.f.return(this.f.i32(LEFT)))
  }

  protected giveUpUnless(condition: Node): void {
    this.giveUpIf(this.op('eqz', condition))
  }

  /** Frame entry of the page of a guest-physical address below 4 GiB: of RAM that is here. */
  protected frameOf(gpa: Node): Node {
    const page = this.op('shr_u', gpa, 12)
    this.giveUpUnless(this.op('lt_u', page, this.field('framePages')))
    const frame = this.f.load('i32.load', 'i32', this.op('add', this.field('frameTable'), this.op('shl', page, 2)))
    this.giveUpUnless(this.op('eq', this.and(frame, VISIBLE_MASK | Frame.ABSENT), Frame.PRESENT))
    return frame
  }

  private hostOf(frame: Node, gpa: Node): Node {
    return this.op('or', this.and(frame, ~0xfff), this.and(gpa, 0xfff))
  }

  /** Reads a table's entry that must be present; in 4-level paging its upper half too. Returns the lower half. */
  private readEntry(index: Node, wide: boolean): Node {
    const { f } = this
    const at = this.op('or', f.getLocal(this.table), this.op('shl', index, wide ? 3 : 2))
    const frame = this.frameOf(at)
    const host = this.hostOf(frame, at)
    const low = f.load('i32.load', 'i32', host)
    this.missing(this.op('eqz', this.and(low, P)))
    if (wide) this.giveUpIf(this.and(f.load('i32.load', 'i32', host, 4), this.refused()))
    f.setLocal(this.rights, this.and(f.getLocal(this.rights), low))
    f.setLocal(this.leaf, low)
    f.setLocal(this.leafAt, host)
    f.setLocal(this.leafFrame, frame)
    return low
  }

  /** The entry leads to a table: on with that. Its accessed flag is set already. */
  private descend(low: Node): void {
    this.giveUpUnless(this.and(low, A))
    this.f.setLocal(this.table, this.and(low, ~0xfff))
  }

  private largePage(low: Node, { within, reserved }: typeof PAGE_2M, leaf: BlockLabel): void {
    this.giveUpIf(this.and(low, reserved))
    this.f.setLocal(this.within, this.f.i32(within))
    this.f.jump(leaf, 'break')
  }

  private walk32(leaf: BlockLabel): void {
    const { f } = this
    const low = this.readEntry(this.op('shr_u', this.lo, 22), false)
    const large = this.op('ne', this.and(low, PS), 0)
    f.if(this.and(large, this.op('ne', this.and(this.field('cr4'), CR4_PSE), 0)), () => this.largePage(low, PAGE_4M, leaf))
    this.descend(low)
    this.readEntry(this.and(this.op('shr_u', this.lo, 12), 0x3ff), false)
  }

  private walk64(leaf: BlockLabel): void {
    const { f, lo, hi } = this
    // Canonical addresses only.
    this.giveUpIf(this.op('gt_u', this.op('add', this.op('shr_s', hi, 15), 1), 1))
    this.giveUpIf(f.load('i32.load', 'i32', this.cpu, offsetOf('cr3') + 4))
    const top = this.readEntry(this.and(this.op('shr_u', hi, 7), 0x1ff), true)
    this.giveUpIf(this.and(top, PS))
    this.descend(top)
    const third = this.readEntry(this.and(this.op('or', this.op('shl', hi, 2), this.op('shr_u', lo, 30)), 0x1ff), true)
    f.if(this.and(third, PS), () => this.largePage(third, PAGE_1G, leaf))
    this.descend(third)
    const second = this.readEntry(this.and(this.op('shr_u', lo, 21), 0x1ff), true)
    f.if(this.and(second, PS), () => this.largePage(second, PAGE_2M, leaf))
    this.descend(second)
    this.readEntry(this.and(this.op('shr_u', lo, 12), 0x1ff), true)
  }

  /** Guest-physical page of the leaf's page that holds the address (no offset). */
  protected pageOfLeaf(): Node {
    const within = this.f.getLocal(this.within)
    return this.op('or', this.and(this.and(this.f.getLocal(this.leaf), ~0xfff), this.op('xor', within, -1)), this.and(this.lo, within))
  }

  /** The linear address. @param kind of `WalkKind` */
  protected linear(kind: Node): Node {
    const { f } = this
    const long = this.op('eq', kind, WalkKind.FOUR_LEVELS)
    const high = f.pure('i64.shl', 'i64', [f.pure('i64.extend_i32_u', 'i64', [this.hi]), f.i64(32n)])
    const low = f.pure('i64.extend_i32_u', 'i64', [this.lo])
    return f.pure('i64.or', 'i64', [low, f.pure('select', 'i64', [high, f.i64(0n), long])])
  }

  /** Finds the leaf. @param kind of `WalkKind`, not NONE */
  protected walk(kind: Node): void {
    const { f } = this
    f.setLocal(this.rights, f.i32(RW | US))
    f.setLocal(this.within, f.i32(0))
    f.setLocal(this.table, this.and(this.field('cr3'), ~0xfff))
    f.block((leaf) => f.if(this.op('eq', kind, WalkKind.FOUR_LEVELS), () => this.walk64(leaf), () => this.walk32(leaf)))
  }
}

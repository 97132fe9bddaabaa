/**
 * The TLB miss in generated code: page walk and filling of the entry as `mmu/walk.ts` and `mmu/soft-tlb.ts` do them, for what
 * nearly every miss is: 32-bit or 4-level paging, plain RAM, or a page fault. Whatever is not so is found before anything is
 * changed, and left to TypeScript. Intel SDM vol. 3, 4.3, 4.5, 4.6 and 4.8.
 */
import { Frame, WRITE_SLOW_MASK } from '../../memory/frame-table'
import { KERNEL_IMAGE, KERNEL_IMAGE_SHIFT, PARTS, PART_SHIFT } from '../../mmu/large-pages'
import { TLB_ENTRIES, TLB_ENTRY_SIZE, TlbEntry, TlbFlag, TlbList, TlbView } from '../../mmu/tlb-layout'
import { PageFaultCode } from '../../mmu/walk'
import { WalkKind } from '../../mmu/walk-kind'
import { A, CR0_WP, CR4_PGE, CR4_SMAP, D, G, RW, US } from '../../mmu/paging-bits'
import { Vector } from '../core/context'
import { Slow } from '../core/exits'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { offsetOf } from '../state/layout'
import { WalkEmitter } from './page-walk'

const PLAIN_WRITE = WRITE_SLOW_MASK | Frame.DIRTY
/** Result of the fill beside host addresses and LEFT. */
export const FAULT_PENDING = 1

/** Function type of the fill: `(cpu, lo, hi, write) → host address of the byte; FAULT_PENDING; 0 where TypeScript must do it`. */
export const FILL_PARAMS = ['i32', 'i32', 'i32', 'i32'] as const

class FillEmitter extends WalkEmitter {
  private readonly write = this.f.param(3)

  constructor() {
    super(FILL_PARAMS)
  }

  private count(): void {
    this.f.store('i32.store', this.cpu, this.op('add', this.field('tlbFills'), 1), offsetOf('tlbFills'))
  }

  protected missing(condition: Node): void {
    this.faultIf(condition, 0)
  }

  /** #PF where the condition holds. Nothing was changed so far. @param present P of the error code; SDM vol. 3, 4.7 */
  private faultIf(condition: Node, present: 0 | typeof PageFaultCode.PRESENT): void {
    const { f } = this
    f.if(condition, () => {
      const user = f.pure('select', 'i32', [f.i32(PageFaultCode.USER), f.i32(0), this.op('eq', this.field('cpl'), 3)])
      const put = (name: 'faultVector' | 'faultError' | 'faultHasError', value: Node): void => f.store('i32.store', this.cpu, value, offsetOf(name))
      put('faultVector', f.i32(Vector.PF))
      put('faultError', this.op('or', this.op('or', user, this.op('shl', this.write, 1)), present))
      put('faultHasError', f.i32(1))
      const long = this.op('eq', this.field('walkKind'), WalkKind.FOUR_LEVELS)
      f.store('i32.store', this.cpu, this.lo, offsetOf('cr2'))
      f.store('i32.store', this.cpu, f.pure('select', 'i32', [this.hi, f.i32(0), long]), offsetOf('cr2') + 4)
      this.count()
      f.return(f.i32(FAULT_PENDING))
    })
  }

  /** #PF where the path's rights do not allow the access. Returns whether writes with these rights are allowed. */
  private check(user: Node): Node {
    const { f } = this
    const rights = f.getLocal(this.rights)
    const ofUser = this.and(rights, US)
    const lifted = this.op('eq', this.field('tlbBase'), this.field('viewBases', TlbView.SUPERVISOR_AC))
    f.if(user, () => this.faultIf(this.op('eqz', ofUser), PageFaultCode.PRESENT), () => {
      const kept = this.op('ne', this.and(this.field('cr4'), CR4_SMAP), 0)
      f.if(ofUser, () => this.faultIf(this.op('gt_u', kept, lifted), PageFaultCode.PRESENT))
    })
    const free = this.op('eqz', this.op('or', user, this.and(this.field('cr0'), CR0_WP)))
    const writeAllowed = this.op('or', this.op('ne', this.and(rights, RW), 0), free)
    this.faultIf(this.op('gt_u', this.write, writeAllowed), PageFaultCode.PRESENT)
    return writeAllowed
  }

  /** Generated code may enter parts of large pages only where INVLPG knows of them. */
  private checkLarge(linear: Node): void {
    const { f } = this
    f.if(f.getLocal(this.within), () => {
      const part = f.pure('i64.shr_u', 'i64', [linear, f.i64(BigInt(PART_SHIFT))])
      const top = f.pure('i64.shr_u', 'i64', [linear, f.i64(BigInt(KERNEL_IMAGE_SHIFT))])
      const ofKernel = this.op('mul', f.pure('i64.eq', 'i32', [top, f.i64(BigInt(KERNEL_IMAGE))]), PARTS)
      const slot = this.op('shl', this.op('add', this.and(f.pure('i32.wrap_i64', 'i32', [part]), PARTS - 1), ofKernel), 3)
      const noted = f.load('i64.load', 'i64', this.op('add', this.cpu, slot), offsetOf('largePages'))
      this.giveUpUnless(f.pure('i64.eq', 'i32', [noted, f.pure('i64.or', 'i64', [part, f.i64(1n << 63n)])]))
    })
  }

  /** Accessed and dirty flags of the leaf, where a plain store may set them. */
  private markUsed(): void {
    const { f } = this
    const leaf = f.getLocal(this.leaf)
    const used = this.op('or', leaf, f.pure('select', 'i32', [f.i32(A | D), f.i32(A), this.write]))
    f.if(this.op('ne', used, leaf), () => {
      this.giveUpUnless(this.op('eq', this.and(f.getLocal(this.leafFrame), PLAIN_WRITE), Frame.DIRTY))
      f.store('i32.store', f.getLocal(this.leafAt), used)
      f.setLocal(this.leaf, used)
    })
  }

  private enlist(entry: Node, global: Node): void {
    const { f } = this
    const flags = f.load('i32.load', 'i32', entry, TlbEntry.flags)
    const put = (flag: number, list: number, next: number): void => f.if(this.op('eqz', this.and(flags, flag)), () => {
      f.store('i32.store', entry, f.load('i32.load', 'i32', this.field('tlbBase'), list), next)
      f.store('i32.store', this.field('tlbBase'), entry, list)
    })
    f.if(global, () => {
      put(TlbFlag.IN_GLOBAL, TlbList.global, TlbEntry.nextGlobal)
      f.store('i32.store', entry, this.op('or', flags, TlbFlag.IN_GLOBAL | TlbFlag.GLOBAL), TlbEntry.flags)
    }, () => {
      put(TlbFlag.IN_LOCAL, TlbList.local, TlbEntry.nextLocal)
      f.store('i32.store', entry, this.op('or', this.and(flags, ~TlbFlag.GLOBAL), TlbFlag.IN_LOCAL), TlbEntry.flags)
    })
  }

  /** Address of the entry and the page that serve a linear address. */
  private place(linear: Node): { entry: Node; page: Node } {
    const { f } = this
    const slot = this.op('mul', this.and(this.op('shr_u', this.lo, 12), TLB_ENTRIES - 1), TLB_ENTRY_SIZE)
    return { entry: this.op('add', this.field('tlbBase'), slot), page: f.pure('i64.and', 'i64', [linear, f.i64(-4096n)]) }
  }

  private fill({ entry, page }: { entry: Node; page: Node }, user: Node, writeAllowed: Node): void {
    const { f } = this
    const leaf = f.getLocal(this.leaf)
    const frame = this.frameOf(this.pageOfLeaf())
    const plain = this.op('eq', this.and(frame, PLAIN_WRITE), Frame.DIRTY)
    this.giveUpIf(this.op('gt_u', this.write, plain))
    const global = this.and(this.op('ne', this.and(leaf, G), 0), this.op('ne', this.and(this.field('cr4'), CR4_PGE), 0))
    this.giveUpIf(this.and(global, user))
    this.markUsed()
    const dirty = this.op('ne', this.and(f.getLocal(this.leaf), D), 0)
    const writable = this.and(this.and(writeAllowed, plain), dirty)
    f.store('i64.store', entry, page, TlbEntry.readTag)
    f.store('i64.store', entry, f.pure('select', 'i64', [page, f.i64(1n), writable]), TlbEntry.writeTag)
    const host = this.and(frame, ~0xfff)
    f.store('i32.store', entry, this.op('sub', host, this.and(this.lo, ~0xfff)), TlbEntry.addend)
    this.enlist(entry, global)
    this.count()
    f.return(this.op('or', host, this.and(this.lo, 0xfff)))
  }

  build(): Uint8Array {
    const { f } = this
    const kind = this.field('walkKind')
    this.giveUpIf(this.op('eqz', kind))
    const linear = this.linear(kind)
    const place = this.place(linear)
    // After a probe for reading and writing the commit finds the entry, and regions ask here for pages they remember others than (see `RecentPages`).
    const tag = f.load('i64.load', 'i64', this.op('add', place.entry, this.op('shl', this.write, Math.log2(TlbEntry.writeTag - TlbEntry.readTag))), TlbEntry.readTag)
    f.if(f.pure('i64.eq', 'i32', [tag, place.page]), () => {
      f.return(this.op('add', this.lo, f.load('i32.load', 'i32', place.entry, TlbEntry.addend)))
    })
    this.walk(kind)
    const user = this.op('eq', this.field('cpl'), 3)
    const writeAllowed = this.check(user)
    this.checkLarge(linear)
    this.fill(place, user, writeAllowed)
    return f.encode()
  }
}

export const buildTlbFill = (): Uint8Array => new FillEmitter().build()

/** Byte counts of an access, largest last. */
const COPIES = [[1, 'i32.load8_u', 'i32.store8'], [2, 'i32.load16_u', 'i32.store16'], [4, 'i32.load', 'i32.store'], [8, 'i64.load', 'i64.store']] as const

/**
 * A slow path of generated code (see `SlowImports`): where the fill does, the access is made at once.
 * @param toScratch as `load` and `probe` do; otherwise as `store`
 * @param write the access needs the right to write
 * @param fill function index of the fill @param fallback of the import of the same type
 */
export function buildAccess(toScratch: boolean, write: boolean, fill: number, fallback: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32', 'i32', 'i32', 'i32'])
  const [cpu, lo, hi, access, slot] = f.params.map((_, i) => f.param(i))
  const op = (name: string, a: Node, b: number | Node): Node => f.pure(`i32.${name}`, 'i32', [a, typeof b === 'number' ? f.i32(b) : b])
  const bytes = op('and', access, 0xff)
  f.if(op('le_u', op('add', op('and', lo, 0xfff), bytes), 0x1000), () => {
    const host = f.call(fill, 'i32', [cpu, lo, hi, f.i32(write ? 1 : 0)])
    f.if(op('eq', host, FAULT_PENDING), () => f.return(f.i32(Slow.FAULT)))
    f.if(host, () => {
      const scratch = op('add', op('add', cpu, op('shl', slot, 3)), offsetOf('scratch'))
      const [to, from] = toScratch ? [scratch, host] : [host, scratch]
      const copy = (load: string, store: string): void => {
        f.store(store, to, f.load(load, load.startsWith('v128') ? 'v128' : load.startsWith('i64') ? 'i64' : 'i32', from))
        f.return(f.i32(Slow.OK))
      }
      for (const [size, load, store] of COPIES) f.if(op('eq', bytes, size), () => copy(load, store))
      copy('v128.load', 'v128.store')
    })
  })
  f.tailCall(fallback, [cpu, lo, hi, access, slot])
  return f.encode()
}

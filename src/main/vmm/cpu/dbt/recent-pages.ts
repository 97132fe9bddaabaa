/**
 * The pages that a region's accesses found last. An access near one before it, by the same base register, is nearly always in the same
 * page: then a comparison with that page replaces the probe of the TLB, and the entry's two loads with it.
 *
 * Unlike in tier 1 code goes on behind a slow path, and what that did is not known: it may have moved the page's frame. So a page stands in
 * a wasm local, and slow paths put there what no page equals; the next access near it takes its slow path and finds the entry again.
 */
import { TLB_EMPTY } from '../../mmu/tlb-layout'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import type { Probe } from '../emit/wasm/tlb-probe'
import { PAGE_SIZE } from '../../memory/frame-table'
import { basedOn, isNear, sameBase, type Based } from './known-pages'

/** Pages remembered at the same time; each slow path forgets them one by one. */
const MOST = 6

interface RecentPage {
  readonly base: Node
  readonly writable: boolean
  readonly slot: PageSlot
  /** First and last displacement from the base that were in the page, if it still stands there. */
  low: number
  high: number
}

/** Wasm locals: linear address of the page, and what makes a host address of a linear one. */
interface PageSlot { readonly type: 'i32' | 'i64'; readonly page: number; readonly addend: number }

export class RecentPages {
  private readonly pages: RecentPage[] = []
  private readonly free: PageSlot[] = []

  constructor(private readonly f: FunctionBuilder) {}

  /** At a place that is reached from elsewhere too. */
  forget(): void {
    this.free.push(...this.pages.splice(0).map(({ slot }) => slot))
  }

  /** Builds code behind which nothing is known: what was called may have changed the TLB, or where frames stand. */
  invalidate(): void {
    const { f } = this
    for (const { slot } of this.pages) f.setLocal(slot.page, this.nowhere(slot))
  }

  /**
   * The probe of an access: by a page before it, or else by the TLB.
   * @param keep the access is made on every way through the code, so that others may go by its page
   */
  probe(linear: Node, bytes: number, write: boolean, keep: boolean, probeTlb: () => Probe): Probe {
    const based = basedOn(linear)
    const low = based.displacement
    const high = low + bytes - 1
    const recent = this.pages.find((page) => sameBase(page.base, based.base) && (page.writable || !write) && isNear(page, low, high))
    if (recent) {
      const near = this.near(recent, linear, based, high)
      if (keep) Object.assign(recent, { low: Math.min(low, recent.low), high: Math.max(high, recent.high) })
      return near
    }
    const found = probeTlb()
    return keep ? this.remember(found, linear, based, { writable: write, high }) : found
  }

  private near({ slot, ...known }: RecentPage, linear: Node, { base, displacement }: Based, high: number): Probe {
    const { f } = this
    const narrow = slot.type === 'i32'
    const address = narrow ? this.lowOf(linear) : linear
    const addend = (): Node => f.getLocal(slot.addend)
    // The bytes between two that lie in one page do so too.
    const end = displacement < known.low ? address : this.plus(address, high - displacement)
    const page = f.pure(`${slot.type}.and`, slot.type, [end, narrow ? f.i32(-4096) : f.i64(-4096n)])
    const inside = displacement >= known.low && high <= known.high
    const hit = inside
      ? f.pure(`${slot.type}.ne`, 'i32', [f.getLocal(slot.page), this.nowhere(slot)])
      : f.pure(`${slot.type}.eq`, 'i32', [f.getLocal(slot.page), page])
    return { hit, page, reach: undefined, low: this.lowOf(linear), addend, ...this.hostOf(linear, base, displacement, slot) }
  }

  /** By the base where that can be, so that accesses near one another share the sum. */
  private hostOf(linear: Node, base: Node, displacement: number, slot: PageSlot): Pick<Probe, 'host' | 'offset'> {
    const { f } = this
    const shared = displacement >= 0 && displacement < PAGE_SIZE
    const low = this.lowOf(shared ? base : linear)
    return { offset: shared ? displacement : 0, host: () => f.pure('i32.add', 'i32', [low, f.getLocal(slot.addend)]) }
  }

  private remember(found: Probe, linear: Node, { base, displacement }: Based, page: Pick<RecentPage, 'writable' | 'high'>): Probe {
    const { f } = this
    if (this.pages.length === MOST) this.free.push(...this.pages.splice(0, 1).map(({ slot }) => slot))
    const slot = this.slotOf(found.page.type === 'i32' ? 'i32' : 'i64')
    this.pages.push({ ...page, base, low: displacement, slot })
    const { host, offset } = this.hostOf(linear, base, displacement, slot)
    return {
      ...found, offset,
      host: () => {
        f.setLocal(slot.page, found.page)
        f.setLocal(slot.addend, found.addend())
        return host()
      },
    }
  }

  private lowOf(address: Node): Node {
    return address.type === 'i64' ? this.f.pure('i32.wrap_i64', 'i32', [address]) : address
  }

  private plus(address: Node, by: number): Node {
    const { f } = this
    if (by === 0) return address
    return address.type === 'i64' ? f.pure('i64.add', 'i64', [address, f.i64(BigInt(by))]) : f.pure('i32.add', 'i32', [address, f.i32(by)])
  }

  /** What no page equals. */
  private nowhere({ type }: PageSlot): Node {
    return type === 'i32' ? this.f.i32(Number(TLB_EMPTY)) : this.f.i64(TLB_EMPTY)
  }

  private slotOf(type: 'i32' | 'i64'): PageSlot {
    const at = this.free.findIndex((slot) => slot.type === type)
    if (at >= 0) return this.free.splice(at, 1)[0]
    return { type, page: this.f.newLocal(type), addend: this.f.newLocal('i32') }
  }
}

/**
 * What a block's accesses have found in the TLB. An access near one before it, by the same base register, is nearly always in
 * the same page: then one comparison replaces the probe, and none where the bytes in between are known already.
 */
import type { Node } from '../emit/wasm/function'

/** How far bytes may lie from known ones, one time in 64 at worst they are in another page. */
const NEAR = 64

/** An address as a node and bytes behind it. */
export interface Based { readonly base: Node; readonly displacement: number }

/** True for two nodes of one value: registers are the same node, the address of the code is read anew each time. */
export const sameBase = (a: Node, b: Node): boolean =>
  a === b || (a.pure && b.pure && a.op.endsWith('.load') && a.op === b.op && a.imm === b.imm && a.args[0] === b.args[0])

/** True where bytes are among known ones or near them, but not on both sides of them. */
export const isNear = (known: { readonly low: number; readonly high: number }, low: number, high: number): boolean =>
  (low >= known.low && high <= known.high + NEAR) || (high <= known.high && low >= known.low - NEAR)

/** The page of an access, and the bytes around it that lie in it as well. */
export interface KnownPage {
  /** Linear address of the page. */
  readonly page: Node
  /** Host address of the byte at `displacement` from the base. */
  readonly host: Node
  readonly displacement: number
  readonly writable: boolean
  /** First and last displacement in the page for certain. */
  low: number
  high: number
  /** Have the comparison that stands before all accesses by it look at another last, or first, byte. Undefined: there is none. */
  readonly reachUp: ((displacement: number) => void) | undefined
  reachDown: ((displacement: number) => void) | undefined
}

/** Address as base and displacement; i64, or an i32 widened. */
export function basedOn(linear: Node): Based {
  const sum = linear.op === 'i64.extend_i32_u' ? linear.args[0] : linear
  if (sum.op !== 'i64.add' && sum.op !== 'i32.add') return { base: sum, displacement: 0 }
  const [a, b] = sum.args
  const displacement = Number(b.imm)
  return b.op === 'const' && Math.abs(displacement) < 2 ** 31 ? { base: a, displacement } : { base: sum, displacement: 0 }
}

export class KnownPages {
  private readonly pages: { readonly base: Node; readonly page: KnownPage }[] = []

  /** After the TLB may have changed. */
  forget(): void {
    this.pages.length = 0
  }

  add(base: Node, page: KnownPage): void {
    this.pages.push({ base, page })
  }

  /** The page that bytes at a displacement are in, or near whose known bytes they are. */
  find({ base, displacement: low }: Based, bytes: number, write: boolean): KnownPage | undefined {
    const high = low + bytes - 1
    const known = this.pages.filter((k) => sameBase(k.base, base) && (k.page.writable || !write))
    return (known.find(({ page }) => low >= page.low && high <= page.high) ?? known.find(({ page }) => isNear(page, low, high)))?.page
  }
}

/** Division of 128 by 64 bits. */
import type { CpuContext } from '../core/context'
import type { Helper, HelperEmitter, Val } from '../emit/emitter'

const WORD = 0xffff_ffffn

/**
 * One digit to the base 2^32 of a quotient: (u × 2^32 + next) / d, where u < d and d has its highest bit set. Knuth, The Art of
 * Computer Programming 2, algorithm 4.3.1 D.
 */
export function digit(e: HelperEmitter, u: Val, next: Val, d: Val): { readonly q: Val; readonly rest: Val } {
  const [dHigh, dLow] = [e.shr(d, e.const(64, 32)), e.and(d, e.const(64, WORD))]
  const first = e.divu(u, dHigh)
  const q = e.variable(64, first)
  const r = e.variable(64, e.sub(u, e.mul(first, dHigh)))
  const tooLarge = (): Val => {
    const product = e.ltu(e.or(e.shl(r.get(), e.const(64, 32)), next), e.mul(q.get(), dLow))
    return e.or(product, e.ltu(e.const(64, WORD), q.get()))
  }
  const correct = (): void => {
    q.set(e.sub(q.get(), e.const(64, 1)))
    r.set(e.add(r.get(), dHigh))
  }
  e.if(tooLarge(), () => {
    correct()
    e.if(e.and(e.isZero(e.shr(r.get(), e.const(64, 32))), tooLarge()), correct)
  })
  const rest = e.sub(e.or(e.shl(u, e.const(64, 32)), next), e.mul(q.get(), d))
  return { q: q.get(), rest }
}

/** Arguments: high and low half of the dividend, the divisor, which is above the high half. Returns the quotient. */
export const divideWideHelper: Helper = {
  name: 'divideWide', args: ['i64', 'i64', 'i64'], returns: 'i64', faults: false, isolated: true,
  run: (_cpu: CpuContext, high: bigint, low: bigint, divisor: bigint): bigint => ((high << 64n) | low) / divisor,
  common(e) {
    const [high, low, divisor] = [0, 1, 2].map((i) => e.argument(i))
    const zeros = e.unary('clz', divisor)
    const d = e.shl(divisor, zeros)
    const carried = e.shr(e.shr(low, e.const(64, 1)), e.sub(e.const(64, 63), zeros))
    const next = e.shl(low, zeros)
    const first = digit(e, e.or(e.shl(high, zeros), carried), e.shr(next, e.const(64, 32)), d)
    const second = digit(e, first.rest, e.and(next, e.const(64, WORD)), d)
    e.finish(e.or(e.shl(first.q, e.const(64, 32)), second.q))
  },
}

import { describe, expect, it } from 'vitest'
import { reciprocal, reciprocalRoot } from './approximations'
import { toNumberBits } from './number-bits'

const { toBits, toNumber } = toNumberBits
const ALLOWED = 1.5 * 2 ** -12

describe('RCP and RSQRT', () => {
  it('stay within the relative error the manual allows', () => {
    for (let n = 1; n < 2000; n++) {
      const x = n * 1.37e-3 * 10 ** (n % 30)
      const exact = Math.fround(x)
      expect(Math.abs(toNumber(reciprocal(toBits(x))) * exact - 1)).toBeLessThan(ALLOWED)
      expect(Math.abs(toNumber(reciprocalRoot(toBits(x))) * Math.sqrt(exact) - 1)).toBeLessThan(ALLOWED)
    }
  })

  it('take denormals for zeros, flush tiny results and make NaNs quiet', () => {
    expect(reciprocal(0x8000_0001n)).toBe(0xff80_0000n)
    expect(reciprocalRoot(0x8000_0000n)).toBe(0xff80_0000n)
    expect(reciprocal(0x7f7f_ffffn)).toBe(0n)
    expect(reciprocal(0xff80_0000n)).toBe(0x8000_0000n)
    expect(reciprocalRoot(0xbf80_0000n)).toBe(0xffc0_0000n)
    expect(reciprocal(0x7f80_0001n)).toBe(0x7fc0_0001n)
  })
})

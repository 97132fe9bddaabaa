/** Reproducible random values with the boundaries instructions care about. */

/** splitmix-like 32-bit generator; the seed is printed with every failure. */
export class Random {
  private state: number
  constructor(seed: number) { this.state = seed >>> 0 }

  u32(): number {
    this.state = (this.state + 0x9e37_79b9) >>> 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97)
    return (z ^ (z >>> 15)) >>> 0
  }

  u64(): bigint { return (BigInt(this.u32()) << 32n) | BigInt(this.u32()) }
  below(n: number): number { return this.u32() % n }
  chance(percent: number): boolean { return this.below(100) < percent }
  pick<T>(from: readonly T[]): T { return from[this.below(from.length)] }
  fill(bytes: Uint8Array): void { for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() }
}

const BOUNDARIES: readonly bigint[] = [0n, 1n, -1n, ...[8n, 16n, 32n, 64n].flatMap((w) => {
  const min = 1n << (w - 1n)
  return [min, min - 1n, min + 1n, (1n << w) - 1n, -min, -min - 1n]
})]

export function interesting64(random: Random): bigint {
  switch (random.below(8)) {
    case 0: case 1: return BigInt.asUintN(64, random.pick(BOUNDARIES))
    case 2: return BigInt(random.below(72))
    case 3: return BigInt.asUintN(64, 1n << BigInt(random.below(64)))
    case 4: return BigInt.asUintN(64, (1n << BigInt(random.below(64))) - 1n)
    case 5: return BigInt(random.u32())
    case 6: return BigInt.asUintN(64, BigInt.asIntN(16, BigInt(random.u32())))
    default: return random.u64()
  }
}

const F32: readonly number[] = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffa1_2345, 0x7fc1_2345,
  1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff, 0xff7f_ffff, 0x3f00_0000, 0xbf00_0000, 0x3fc0_0000, 0x4020_0000, 0x4f00_0000,
  0xcf00_0000, 0x4eff_ffff, 0x5f00_0000, 0xdf00_0000, 0x4b00_0000, 0x4b7f_ffff, 0x3eaa_aaab, 0x4049_0fdb,
]
const F64: readonly bigint[] = [
  0n, 1n << 63n, 0x3ff0n << 48n, 0xbff0n << 48n, 0x7ff0n << 48n, 0xfff0n << 48n, 0x7ff8n << 48n, 0xfff8n << 48n, (0x7ff0n << 48n) | 1n,
  (0xfff4n << 48n) | 5n, 1n, (1n << 63n) | 1n, 0x000f_ffff_ffff_ffffn, 0x0010n << 48n, 0x7fef_ffff_ffff_ffffn, 0x3fe0n << 48n,
  0x3ff8n << 48n, 0x4004n << 48n, 0x41e0n << 48n, 0xc1e0n << 48n, 0x41df_ffff_ffc0_0000n, 0xc1e0_0000_0020_0000n, 0x43e0n << 48n,
  0xc3e0n << 48n, 0x4330n << 48n, 0x47ef_ffff_e000_0000n, 0x3690n << 48n, 0x380fn << 48n, 0x3fd5_5555_5555_5555n,
]

const U16: readonly number[] = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x7f, 0x80, 0xff]

/** Sixteen bytes in one of the styles vector instructions care about. */
export function interestingVector(random: Random, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const style = random.below(8)
  random.fill(bytes)
  const each = (step: number, set: (at: number) => void): void => { for (let at = 0; at + step <= bytes.length; at += step) set(at) }
  if (style <= 1) each(4, (at) => view.setUint32(at, random.chance(70) ? random.pick(F32) : nearOne32(random), true))
  else if (style <= 3) each(8, (at) => view.setBigUint64(at, random.chance(70) ? random.pick(F64) : nearOne64(random), true))
  else if (style === 4) each(1, (at) => view.setUint8(at, random.pick([0, 1, 0x7f, 0x80, 0x81, 0xff, random.u32()])))
  else if (style === 5) each(2, (at) => view.setUint16(at, random.chance(10) ? random.u32() : random.pick(U16), true))
  else if (style === 6) each(8, (at) => view.setBigUint64(at, interesting64(random), true))
}

/** Half of the numbers have few significant bits: arithmetic with them is often exact. */
const shortened = <T>(random: Random, full: T, short: T): T => (random.chance(50) ? full : short)

function nearOne32(random: Random): number {
  return ((random.u32() & shortened(random, 0x807f_ffff, 0x8078_0000)) | ((0x70 + random.below(0x20)) << 23)) >>> 0
}

function nearOne64(random: Random): bigint {
  return (random.u64() & shortened(random, 0x800f_ffff_ffff_ffffn, 0x800f_8000_0000_0000n)) | (BigInt(0x3f0 + random.below(0x20)) << 52n)
}

/** An 80-bit register: finite numbers mostly, every special class sometimes. */
export function interesting80(random: Random, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 10)
  const sign = random.chance(50) ? 0x8000 : 0
  const top = 1n << 63n
  const set = (significand: bigint, exponent: number): void => {
    view.setBigUint64(0, significand, true)
    view.setUint16(8, exponent | sign, true)
  }
  switch (random.below(12)) {
    case 0: return set(0n, 0)
    case 1: return set(top, 0x7fff)
    case 2: return set(top | (1n << 62n) | (random.u64() >> 2n), 0x7fff)
    case 3: return set(top | (random.u64() >> 2n) | 1n, 0x7fff)
    case 4: return set(random.u64() >> 1n, 0)
    case 5: return set(top, 0x3fff + random.below(5) - 2)
    case 6: return set(top | random.u64(), 0x3fff + random.below(80) - 8)
    case 7: return set(top | (BigInt(random.below(256)) << 55n), 0x3fff + random.below(70))
    case 8: return set(top | random.u64(), random.below(0x7fff))
    case 9: return set(top | (random.u64() & ~0x7ffn), 0x3fff + random.below(16) - 8)
    default: return set(top | random.u64(), 0x3ffe + random.below(4))
  }
}

/** Reproducible random values with the boundaries instructions care about. */

/** splitmix-like 32-bit generator; the seed is printed with every failure. */
export class Random {
  private state: number
  constructor(seed: number) { this.state = seed | 0 }

  u32(): number {
    this.state = (this.state + 0x9e37_79b9) | 0
    let z = this.state
    z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97)
    return (z ^ (z >>> 15)) >>> 0
  }

  u64(): bigint { return (BigInt(this.u32()) << 32n) | BigInt(this.u32()) }
  below(n: number): number { return this.u32() % n }
  chance(percent: number): boolean { return this.below(100) < percent }
  pick<T>(from: readonly T[]): T { return from[this.below(from.length)] }
}

// What follows puts values into views, as halves of 32 bits: a case has hundreds of them, too many for bigint.

const pair = (value: bigint): readonly [number, number] => [Number(value & 0xffff_ffffn), Number(BigInt.asUintN(64, value) >> 32n)]

/** Low and high half each. */
const BOUNDARIES = [0n, 1n, -1n, ...[8n, 16n, 32n, 64n].flatMap((w) => {
  const min = 1n << (w - 1n)
  return [min, min - 1n, min + 1n, (1n << w) - 1n, -min, -min - 1n]
})].map(pair)

function put64(view: DataView, at: number, lo: number, hi: number): void {
  view.setInt32(at, lo, true)
  view.setInt32(at + 4, hi, true)
}

/** A bit, or all bits below it. */
function putPower(view: DataView, at: number, bit: number, below: 0 | 1): void {
  const part = 2 ** (bit & 31)
  if (bit < 32) put64(view, at, part - below, 0)
  else put64(view, at, -below, part - below)
}

/** Eight bytes: a value near the limits of some width, a power of two, few bits, or anything. */
export function putInteresting64(random: Random, view: DataView, at: number): void {
  switch (random.below(8)) {
    case 0: case 1: { const [lo, hi] = random.pick(BOUNDARIES); return put64(view, at, lo, hi) }
    case 2: return put64(view, at, random.below(72), 0)
    case 3: return putPower(view, at, random.below(64), 0)
    case 4: return putPower(view, at, random.below(64), 1)
    case 5: return put64(view, at, random.u32(), 0)
    case 6: { const value = (random.u32() << 16) >> 16; return put64(view, at, value, value >> 31) }
    default: return put64(view, at, random.u32(), random.u32())
  }
}

const scratch = new DataView(new ArrayBuffer(8))

/** The same as a number of 64 bits. */
export function interesting64(random: Random): bigint {
  putInteresting64(random, scratch, 0)
  return scratch.getBigUint64(0, true)
}

const F32: readonly number[] = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffa1_2345, 0x7fc1_2345,
  1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff, 0xff7f_ffff, 0x3f00_0000, 0xbf00_0000, 0x3fc0_0000, 0x4020_0000, 0x4f00_0000,
  0xcf00_0000, 0x4eff_ffff, 0x5f00_0000, 0xdf00_0000, 0x4b00_0000, 0x4b7f_ffff, 0x3eaa_aaab, 0x4049_0fdb,
]
const F64 = [
  0n, 1n << 63n, 0x3ff0n << 48n, 0xbff0n << 48n, 0x7ff0n << 48n, 0xfff0n << 48n, 0x7ff8n << 48n, 0xfff8n << 48n, (0x7ff0n << 48n) | 1n,
  (0xfff4n << 48n) | 5n, 1n, (1n << 63n) | 1n, 0x000f_ffff_ffff_ffffn, 0x0010n << 48n, 0x7fef_ffff_ffff_ffffn, 0x3fe0n << 48n,
  0x3ff8n << 48n, 0x4004n << 48n, 0x41e0n << 48n, 0xc1e0n << 48n, 0x41df_ffff_ffc0_0000n, 0xc1e0_0000_0020_0000n, 0x43e0n << 48n,
  0xc3e0n << 48n, 0x4330n << 48n, 0x47ef_ffff_e000_0000n, 0x3690n << 48n, 0x380fn << 48n, 0x3fd5_5555_5555_5555n,
].map(pair)

const U8: readonly number[] = [0, 1, 0x7f, 0x80, 0x81, 0xff]
const U16: readonly number[] = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x7f, 0x80, 0xff]

/** Sixteen bytes in one of the styles vector instructions care about. */
export function putInterestingVector(random: Random, view: DataView, at: number): void {
  switch (random.below(8)) {
    case 0: case 1: for (let i = 0; i < 16; i += 4) putFloat32(random, view, at + i); break
    case 2: case 3: for (let i = 0; i < 16; i += 8) putFloat64(random, view, at + i); break
    case 4: for (let i = 0; i < 16; i++) view.setUint8(at + i, random.chance(85) ? random.pick(U8) : random.u32()); break
    case 5: for (let i = 0; i < 16; i += 2) view.setUint16(at + i, random.chance(10) ? random.u32() : random.pick(U16), true); break
    case 6: for (let i = 0; i < 16; i += 8) putInteresting64(random, view, at + i); break
    default: for (let i = 0; i < 16; i += 4) view.setUint32(at + i, random.u32(), true)
  }
}

/** Half of the numbers near one have few significant bits: arithmetic with them is often exact. */
function putFloat32(random: Random, view: DataView, at: number): void {
  if (random.chance(70)) return view.setUint32(at, random.pick(F32), true)
  const kept = random.chance(50) ? 0x807f_ffff : 0x8078_0000
  view.setUint32(at, (random.u32() & kept) | ((0x70 + random.below(0x20)) << 23), true)
}

function putFloat64(random: Random, view: DataView, at: number): void {
  if (random.chance(70)) {
    const [lo, hi] = random.pick(F64)
    return put64(view, at, lo, hi)
  }
  const isShort = random.chance(50)
  const lo = random.u32()
  const high = random.u32() & (isShort ? 0x800f_8000 : 0x800f_ffff)
  put64(view, at, isShort ? 0 : lo, high | ((0x3f0 + random.below(0x20)) << 20))
}

/** An 80-bit register: finite numbers mostly, every special class sometimes. */
export function putInteresting80(random: Random, view: DataView, at: number): void {
  const sign = random.chance(50) ? 0x8000 : 0
  const lo = random.u32()
  const any = random.u32()
  const normal = any | 0x8000_0000
  const put = (low: number, high: number, exponent: number): void => {
    put64(view, at, low, high)
    view.setUint16(at + 8, exponent | sign, true)
  }
  switch (random.below(12)) {
    case 0: return put(0, 0, 0)
    case 1: return put(0, 0x8000_0000, 0x7fff)
    case 2: return put(lo, 0xc000_0000 | (any >>> 2), 0x7fff)
    case 3: return put(lo | 1, 0x8000_0000 | (any >>> 2), 0x7fff)
    case 4: return put(lo, any >>> 1, 0)
    case 5: return put(0, 0x8000_0000, 0x3fff + random.below(5) - 2)
    case 6: return put(lo, normal, 0x3fff + random.below(80) - 8)
    case 7: return put(0, 0x8000_0000 | (random.below(256) << 23), 0x3fff + random.below(70))
    case 8: return put(lo, normal, random.below(0x7fff))
    case 9: return put(lo & ~0x7ff, normal, 0x3fff + random.below(16) - 8)
    default: return put(lo, normal, 0x3ffe + random.below(4))
  }
}

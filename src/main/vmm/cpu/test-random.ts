/** Random choices for unit tests: the same ones for the same seed. */
export class TestRandom {
  constructor(private seed: number) {}

  /** An integer from 0 to below the limit. */
  below(limit: number): number {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0
    return Math.floor((this.seed / 2 ** 32) * limit)
  }

  /** True in so many of a hundred. */
  chance(percent: number): boolean { return this.below(100) < percent }

  /** True once in so many times. */
  rarely(times: number): boolean { return this.below(times) === 0 }

  pick<T>(values: readonly T[]): T { return values[this.below(values.length)] }

  /** 32 random bits. */
  word(): number { return this.below(0x1_0000) * 0x1_0000 + this.below(0x1_0000) }

  fill(bytes: Uint8Array): void { for (let i = 0; i < bytes.length; i++) bytes[i] = this.below(256) }
}

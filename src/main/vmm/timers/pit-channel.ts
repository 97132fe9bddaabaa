/** One counter of the 8254: what it counts, reads and puts out at a given time. Intel 8254 data sheet, "Mode definitions". */

export const PIT_HZ = 1_193_182
export const NS_PER_TICK = 1e9 / PIT_HZ

/** Modes 1 and 5 count from a rising gate; 2 and 3 repeat; in 0 and 4 a low gate holds the count. */
const isTriggered = (mode: number): boolean => mode === 1 || mode === 5
const toBcd = (value: number): number => [1000, 100, 10, 1].reduce((bcd, power) => (bcd << 4) | (Math.floor(value / power) % 10), 0)
const fromBcd = (bcd: number): number => [12, 8, 4, 0].reduce((value, shift) => value * 10 + ((bcd >> shift) & 15), 0)

export class PitChannel {
  mode = 3
  bcd = false
  /** 1 low byte, 2 high byte, 3 low then high. */
  access = 3
  /** Ticks of a count, 1 … 65536 (10000 in BCD). */
  reload = 0x10000
  /** Machine time when counting started. */
  startNs = 0
  /** A count was written, and where the mode wants it the trigger came. */
  counting = false
  /** A count was written since the control word; the status byte's NULL COUNT is its opposite. */
  loaded = false
  gate = true
  /** Ticks counted when a low gate stopped mode 0 or 4; -1 while it counts. */
  heldTicks = -1
  /** Count written to a counter of mode 2 or 3 that runs: used from `nextNs` on. -1 none. */
  next = -1
  nextNs = 0
  latched = -1
  statusLatched = -1
  readHigh = false
  writeLow = -1

  get periodic(): boolean {
    return this.mode === 2 || this.mode === 3
  }

  get periodNs(): number {
    return this.reload * NS_PER_TICK
  }

  private get modulus(): number {
    return this.bcd ? 10_000 : 0x10000
  }

  private ticks(nowNs: number): number {
    this.useNext(nowNs)
    return this.heldTicks >= 0 ? this.heldTicks : Math.max(0, Math.floor((nowNs - this.startNs) / NS_PER_TICK))
  }

  private useNext(nowNs: number): void {
    if (this.next < 0 || nowNs < this.nextNs) return
    this.startNs = this.nextNs
    this.reload = this.next
    this.next = -1
  }

  /** Counter as the guest reads it. */
  value(nowNs: number): number {
    const value = this.counting ? this.count(this.ticks(nowNs)) : this.reload
    return this.bcd ? toBcd(value % 10_000) : value & 0xffff
  }

  private count(ticks: number): number {
    const { reload } = this
    if (this.mode === 2) return reload - (ticks % reload)
    if (this.mode === 3) {
      const half = Math.ceil(reload / 2)
      const into = ticks % reload
      return (reload & ~1) - 2 * (into < half ? into : into - half)
    }
    return (((reload - ticks) % this.modulus) + this.modulus) % this.modulus
  }

  output(nowNs: number): boolean {
    if (!this.counting) return this.mode !== 0
    if (this.periodic && !this.gate) return true
    const ticks = this.ticks(nowNs)
    switch (this.mode) {
      case 0: case 1: return ticks >= this.reload
      case 2: return ticks % this.reload !== this.reload - 1
      case 3: return ticks % this.reload < Math.ceil(this.reload / 2)
      default: return ticks !== this.reload
    }
  }

  /** Machine time of the output's next rise after `nowNs`; undefined where there is none in sight. */
  nextRise(nowNs: number): number | undefined {
    if (!this.counting || !this.gate && !isTriggered(this.mode)) return undefined
    const ticks = this.ticks(nowNs)
    const rise = (after: number): number => this.startNs + after * NS_PER_TICK
    if (this.periodic) {
      const end = rise((Math.floor(ticks / this.reload) + 1) * this.reload)
      return this.next >= 0 ? Math.min(end, this.nextNs) : end
    }
    const last = this.mode >= 4 ? this.reload + 1 : this.reload
    return ticks < last ? rise(last) : undefined
  }

  /** A control word other than a latch command. */
  program(mode: number, access: number, bcd: boolean): void {
    Object.assign(this, { mode, access, bcd, counting: false, loaded: false, readHigh: false })
    this.latched = this.statusLatched = this.writeLow = this.next = this.heldTicks = -1
  }

  /** A byte for the count. */
  write(value: number, nowNs: number): void {
    if (this.access === 3 && this.writeLow < 0) {
      this.writeLow = value
      // The first of two bytes stops mode 0; the others count on until the second has come.
      if (this.mode === 0) this.counting = false
      return
    }
    const raw = this.access === 1 ? value : this.access === 2 ? value << 8 : this.writeLow | (value << 8)
    this.writeLow = -1
    const count = this.bcd ? fromBcd(raw) : raw
    this.load(count === 0 ? this.modulus : count, nowNs)
  }

  private load(count: number, nowNs: number): void {
    this.loaded = true
    // A count of 1 is illegal in modes 2 and 3; hardware behaves as for 2.
    const reload = this.periodic && count === 1 ? 2 : count
    if (this.periodic && this.counting && this.gate) {
      this.nextNs = this.endOfPeriod(nowNs)
      this.next = reload
      return
    }
    this.reload = reload
    if (!isTriggered(this.mode)) this.start(nowNs)
  }

  /** Of the half that runs, in mode 3. */
  private endOfPeriod(nowNs: number): number {
    const ticks = this.ticks(nowNs)
    const into = ticks % this.reload
    const half = Math.ceil(this.reload / 2)
    const end = this.mode === 3 && into < half ? half : this.reload
    return this.startNs + (ticks - into + end) * NS_PER_TICK
  }

  private start(nowNs: number): void {
    this.startNs = nowNs
    this.counting = true
    this.heldTicks = this.gate || this.periodic ? -1 : 0
  }

  setGate(gate: boolean, nowNs: number): void {
    if (gate === this.gate) return
    if (!gate && this.counting && !isTriggered(this.mode) && !this.periodic) this.heldTicks = this.ticks(nowNs)
    this.gate = gate
    if (!gate || !this.loaded) return
    if (this.heldTicks >= 0) {
      this.startNs = nowNs - this.heldTicks * NS_PER_TICK
      this.heldTicks = -1
    } else if (isTriggered(this.mode) || this.periodic) {
      if (this.next >= 0) this.reload = this.next
      this.next = -1
      this.start(nowNs)
    }
  }

  latchCount(nowNs: number): void {
    if (this.latched < 0) this.latched = this.value(nowNs)
  }

  latchStatus(nowNs: number): void {
    if (this.statusLatched >= 0) return
    const nullCount = this.loaded && this.next < 0 ? 0 : 0x40
    this.statusLatched = (this.output(nowNs) ? 0x80 : 0) | nullCount | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0)
  }

  /** A latched status comes first, then the latched or the running count, byte by byte. */
  read(nowNs: number): number {
    if (this.statusLatched >= 0) {
      const status = this.statusLatched
      this.statusLatched = -1
      return status
    }
    const count = this.latched >= 0 ? this.latched : this.value(nowNs)
    const high = this.access === 2 || (this.access === 3 && this.readHigh)
    if (this.access === 3) this.readHigh = !this.readHigh
    if (this.access !== 3 || !this.readHigh) this.latched = -1
    return high ? count >> 8 : count & 0xff
  }
}

/** Local APIC, xAPIC and x2APIC faces over one register file. Intel SDM vol. 3, chapter 11. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, Timer, VirtualClock } from '../bus/types'
import type { TimeStampCounter } from '../timers/tsc'
import type { ApicBus, ApicMessage } from './ioapic'
import { LVT_WRITABLE, Reg, SVR_EOI_SUPPRESSED, X2_READABLE, X2_RESERVED, X2_WRITABLE } from './lapic-registers'

const VERSION = 0x14 | (6 << 16) | (1 << 24)
const LVT_MASKED = 1 << 16
const SVR_ENABLED = 1 << 8
const ERROR_SEND_ILLEGAL_VECTOR = 1 << 5
const ERROR_ILLEGAL_VECTOR = 1 << 6
const ERROR_ILLEGAL_REGISTER = 1 << 7
const BASE_BSP = 1n << 8n
const BASE_X2APIC = 1n << 10n
const BASE_ENABLED = 1n << 11n
/** Rate of the timer's input: 1 GHz, so that a tick is a nanosecond. */
export const APIC_TIMER_HZ = 1_000_000_000

export interface LapicOptions {
  readonly apicId: number
  readonly clock: VirtualClock
  readonly tsc: TimeStampCounter
  /** Other APICs, for interprocessor interrupts. */
  readonly bus: ApicBus
  /** A level-triggered vector was ended here. */
  readonly onEoi: (vector: number) => void
  /** It accepts interrupts from now on. */
  readonly onEnabled: () => void
  /** What the CPU sees may have changed. */
  readonly onChange: () => void
}

export class LocalApic implements Device {
  readonly id: string
  readonly stateVersion = 1
  private readonly regs = new Uint32Array(64)
  private base = 0n
  private deadline = 0n
  private timerStartNs = 0
  private pendingErrors = 0
  private nmi = false
  private readonly timer: Timer

  constructor(private readonly options: LapicOptions) {
    this.id = `lapic${options.apicId}`
    this.timer = options.clock.createTimer(() => this.timerFired())
    this.reset()
  }

  mapInto(memory: AddressSpace, base: number): void {
    memory.map(base, 0x1000, {
      read: (offset) => (!this.answers ? 0xffff_ffff : (offset & 15) === 0 ? this.read(offset >> 4) : 0),
      write: (offset, _size, value) => {
        if ((offset & 15) === 0 && this.answers) this.write(offset >> 4, value)
      },
    }, 'lapic')
  }

  get x2apic(): boolean {
    return (this.base & BASE_X2APIC) !== 0n
  }

  /** Its page is there in xAPIC mode only; else nothing answers. */
  private get answers(): boolean {
    return (this.base & (BASE_ENABLED | BASE_X2APIC)) === BASE_ENABLED
  }

  private get enabled(): boolean {
    return (this.base & BASE_ENABLED) !== 0n && (this.regs[Reg.SVR] & SVR_ENABLED) !== 0
  }

  // ── MSRs ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get apicBase(): bigint {
    return this.base
  }

  /** False for a transition the manual forbids (figure 11-27). */
  writeApicBase(value: bigint): boolean {
    const enabled = (value & BASE_ENABLED) !== 0n
    const x2 = (value & BASE_X2APIC) !== 0n
    if (x2 && !enabled) return false
    const wasEnabled = (this.base & BASE_ENABLED) !== 0n
    if (x2 && !wasEnabled || this.x2apic && enabled && !x2) return false
    // Switched off and on again it is as after power-up (11.4.3).
    if (wasEnabled && !enabled) this.reset()
    this.base = (value & ~BASE_BSP) | (this.base & BASE_BSP)
    if (x2) this.regs[Reg.LDR] = ((this.options.apicId >> 4) << 16) | (1 << (this.options.apicId & 15))
    this.options.onChange()
    return true
  }

  /** MSR 0x800 + register. undefined: #GP. */
  readMsr(register: number): bigint | undefined {
    if (!this.x2apic || !(X2_READABLE.has(register) || register in LVT_WRITABLE)) return undefined
    if (register === Reg.ICR) return BigInt(this.regs[Reg.ICR]) | (BigInt(this.regs[Reg.ICR_HIGH]) << 32n)
    return BigInt(register === Reg.ID ? this.options.apicId : this.read(register))
  }

  /** False: #GP. */
  writeMsr(register: number, value: bigint): boolean {
    if (!this.x2apic || !(X2_WRITABLE.has(register) || register in LVT_WRITABLE)) return false
    const low = Number(value & 0xffff_ffffn)
    if (register === Reg.ICR) {
      this.regs[Reg.ICR_HIGH] = Number(value >> 32n)
      this.regs[Reg.ICR] = low & ~(1 << 12)
      this.sendIpi(low, this.regs[Reg.ICR_HIGH])
      return true
    }
    if (value >> 32n !== 0n || (low & (X2_RESERVED[register] ?? 0)) !== 0) return false
    if (register === Reg.SELF_IPI) this.accept(low & 0xff, false)
    else this.write(register, low)
    return true
  }

  get tscDeadline(): bigint {
    return this.timerMode === 2 ? this.deadline : 0n
  }

  writeTscDeadline(value: bigint): void {
    if (this.timerMode !== 2) return
    this.deadline = value
    if (value === 0n) this.timer.cancel()
    else this.timer.arm(this.options.tsc.timeOfNs(value))
  }

  // ── registers ─────────────────────────────────────────────────────────────────────────────────────────────────

  private read(register: number): number {
    switch (register) {
      case Reg.ID: return (this.options.apicId << 24) >>> 0
      case Reg.VERSION: return VERSION
      case Reg.PPR: return this.processorPriority()
      case Reg.TIMER_CURRENT: return this.currentCount()
      case Reg.EOI: case Reg.SELF_IPI: return 0
      // Beyond the last register the page reads as zero; a typed array gives undefined there.
      default: return register < this.regs.length ? this.regs[register] : 0
    }
  }

  private write(register: number, value: number): void {
    const { regs } = this
    switch (register) {
      case Reg.TPR: regs[Reg.TPR] = value & 0xff; break
      case Reg.EOI: return this.endOfInterrupt()
      case Reg.LDR: if (!this.x2apic) regs[Reg.LDR] = value & 0xff00_0000; break
      case Reg.DFR: regs[Reg.DFR] = (value | 0x0fff_ffff) >>> 0; break
      case Reg.SVR: this.writeSpurious(value); break
      case Reg.ESR: regs[Reg.ESR] = this.pendingErrors; this.pendingErrors = 0; break
      case Reg.ICR: regs[Reg.ICR] = value & ~(1 << 12); this.sendIpi(value, regs[Reg.ICR_HIGH] >>> 24); break
      case Reg.ICR_HIGH: regs[Reg.ICR_HIGH] = value; break
      case Reg.LVT_TIMER: this.writeLvtTimer(value); break
      case Reg.LVT_THERMAL: case Reg.LVT_PERF: case Reg.LVT_LINT0: case Reg.LVT_LINT1: case Reg.LVT_ERROR:
        regs[register] = (value & LVT_WRITABLE[register]) | (this.enabled ? 0 : LVT_MASKED)
        break
      case Reg.TIMER_INITIAL: this.startTimer(value); break
      case Reg.TIMER_DIVIDE: this.writeDivide(value & 0xb); break
      case Reg.ID: case Reg.VERSION: case Reg.PPR: case Reg.APR: break
      default: this.noteError(ERROR_ILLEGAL_REGISTER)
    }
    this.options.onChange()
  }

  private writeSpurious(value: number): void {
    const before = this.enabled
    this.regs[Reg.SVR] = value & (0x1ff | SVR_EOI_SUPPRESSED)
    if (this.enabled && !before) this.options.onEnabled()
    if ((value & SVR_ENABLED) !== 0) return
    for (let r = Reg.LVT_TIMER as number; r <= Reg.LVT_ERROR; r++) this.regs[r] |= LVT_MASKED
  }

  private noteError(bit: number): void {
    this.pendingErrors |= bit
    const entry = this.regs[Reg.LVT_ERROR]
    // An illegal vector in the error entry itself must not report itself for ever.
    if ((entry & LVT_MASKED) === 0 && (entry & 0xff) >= 16) this.accept(entry & 0xff, false)
  }

  // ── accepting and delivering ──────────────────────────────────────────────────────────────────────────────────

  private static highest(regs: Uint32Array, first: number): number {
    for (let word = 7; word >= 0; word--) {
      const bits = regs[first + word]
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits)
    }
    return -1
  }

  private setBit(first: number, vector: number, on: boolean): void {
    const bit = 1 << (vector & 31)
    if (on) this.regs[first + (vector >> 5)] |= bit
    else this.regs[first + (vector >> 5)] &= ~bit
  }

  /** A fixed interrupt for this APIC. False where it is off: only NMI, SMI, INIT and start-up reach it then (11.4.7.2). */
  accept(vector: number, level: boolean): boolean {
    if (!this.enabled) return false
    if (vector < 16) this.noteError(ERROR_ILLEGAL_VECTOR)
    else {
      this.setBit(Reg.IRR, vector, true)
      this.setBit(Reg.TMR, vector, level)
      this.options.onChange()
    }
    return true
  }

  acceptNmi(): void {
    this.nmi = true
    this.options.onChange()
  }

  takeNmi(): boolean {
    const had = this.nmi
    this.nmi = false
    return had
  }

  /** Does a message with this destination reach this APIC? Physical 0xff (0xffffffff in x2APIC) is everyone. */
  matches(message: ApicMessage): boolean {
    const { destination } = message
    if (!message.logical) return destination === this.options.apicId || destination === 0xff || destination === 0xffff_ffff
    const ldr = this.regs[Reg.LDR]
    if (this.x2apic) return (destination >>> 16) === (ldr >>> 16) && (destination & ldr & 0xffff) !== 0
    const mine = ldr >>> 24
    if ((this.regs[Reg.DFR] >>> 28) === 15) return (destination & mine) !== 0
    return (destination >> 4) === (mine >> 4) && (destination & mine & 15) !== 0
  }

  private processorPriority(): number {
    const tpr = this.regs[Reg.TPR]
    const serving = LocalApic.highest(this.regs, Reg.ISR)
    const servingClass = serving < 0 ? 0 : serving & 0xf0
    return (tpr & 0xf0) >= servingClass ? tpr : servingClass
  }

  /** Vector that the CPU would take now, -1 none. */
  pendingVector(): number {
    if (!this.enabled) return -1
    const vector = LocalApic.highest(this.regs, Reg.IRR)
    return vector >= 0 && (vector & 0xf0) > (this.processorPriority() & 0xf0) ? vector : -1
  }

  acknowledge(): number {
    const vector = this.pendingVector()
    if (vector < 0) return this.regs[Reg.SVR] & 0xff
    this.setBit(Reg.IRR, vector, false)
    this.setBit(Reg.ISR, vector, true)
    return vector
  }

  private endOfInterrupt(): void {
    const vector = LocalApic.highest(this.regs, Reg.ISR)
    if (vector >= 0) {
      this.setBit(Reg.ISR, vector, false)
      const level = (this.regs[Reg.TMR + (vector >> 5)] & (1 << (vector & 31))) !== 0
      if (level && (this.regs[Reg.SVR] & SVR_EOI_SUPPRESSED) === 0) this.options.onEoi(vector)
    }
    this.options.onChange()
  }

  /** True where the PIC's INTR reaches the CPU: APIC off, or LINT0 unmasked in ExtINT mode. */
  get passesExtInt(): boolean {
    if ((this.base & BASE_ENABLED) === 0n) return true
    const lint0 = this.regs[Reg.LVT_LINT0]
    return (lint0 & LVT_MASKED) === 0 && ((lint0 >> 8) & 7) === 7
  }

  get taskPriority(): number {
    return this.regs[Reg.TPR]
  }

  set taskPriority(value: number) {
    this.write(Reg.TPR, value)
  }

  private sendIpi(low: number, destination: number): void {
    const message = {
      logical: (low & 0x800) !== 0, deliveryMode: (low >> 8) & 7, vector: low & 0xff, level: false,
    }
    if (message.deliveryMode < 2 && message.vector < 16) return this.noteError(ERROR_SEND_ILLEGAL_VECTOR)
    const shorthand = (low >> 18) & 3
    if (shorthand === 1 || shorthand === 2) this.bus.deliver({ ...message, logical: false, destination: shorthand === 1 ? this.options.apicId : 0xffff_ffff })
    else if (shorthand === 0) this.bus.deliver({ ...message, destination })
  }

  private get bus(): ApicBus {
    return this.options.bus
  }

  // ── timer ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private get timerMode(): number {
    return (this.regs[Reg.LVT_TIMER] >> 17) & 3
  }

  private get divisor(): number {
    const d = this.regs[Reg.TIMER_DIVIDE]
    const code = (d & 3) | ((d & 8) >> 1)
    return code === 7 ? 1 : 2 << code
  }

  private writeLvtTimer(value: number): void {
    const before = this.timerMode
    this.regs[Reg.LVT_TIMER] = (value & LVT_WRITABLE[Reg.LVT_TIMER]) | (this.enabled ? 0 : LVT_MASKED)
    // Between one-shot and periodic the count goes on; to and from the deadline it is lost (11.5.4.1).
    if (before === this.timerMode || (before !== 2 && this.timerMode !== 2)) return
    this.timer.cancel()
    this.regs[Reg.TIMER_INITIAL] = 0
    this.deadline = 0n
  }

  /** What is left of the count goes on at the new rate. */
  private writeDivide(value: number): void {
    const left = this.currentCount()
    this.regs[Reg.TIMER_DIVIDE] = value
    if (left === 0) return
    this.timerStartNs = this.options.clock.nowNs() - (this.regs[Reg.TIMER_INITIAL] - left) * this.divisor
    this.timer.arm(this.timerStartNs + this.periodNs)
  }

  private get periodNs(): number {
    return this.regs[Reg.TIMER_INITIAL] * this.divisor
  }

  private startTimer(count: number): void {
    if (this.timerMode === 2) return
    this.regs[Reg.TIMER_INITIAL] = count
    this.timerStartNs = this.options.clock.nowNs()
    if (count === 0) this.timer.cancel()
    else this.timer.arm(this.timerStartNs + this.periodNs)
  }

  private currentCount(): number {
    if (this.timerMode === 2 || this.regs[Reg.TIMER_INITIAL] === 0) return 0
    const elapsed = this.options.clock.nowNs() - this.timerStartNs
    if (this.timerMode === 0 && elapsed >= this.periodNs) return 0
    return Math.max(0, this.regs[Reg.TIMER_INITIAL] - Math.floor((elapsed % this.periodNs) / this.divisor))
  }

  private timerFired(): void {
    if (this.timerMode === 1) {
      // Periods that were missed while the host was busy are skipped, not made up for in a burst.
      const now = this.options.clock.nowNs()
      const missed = Math.floor((now - this.timerStartNs) / this.periodNs)
      this.timerStartNs += missed * this.periodNs
      this.timer.arm(this.timerStartNs + this.periodNs)
    } else if (this.timerMode === 2) this.deadline = 0n
    const entry = this.regs[Reg.LVT_TIMER]
    if ((entry & LVT_MASKED) === 0) this.accept(entry & 0xff, false)
  }

  // ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

  reset(): void {
    this.regs.fill(0)
    for (let r = Reg.LVT_TIMER as number; r <= Reg.LVT_ERROR; r++) this.regs[r] = LVT_MASKED
    this.regs[Reg.DFR] = 0xffff_ffff
    this.regs[Reg.SVR] = 0xff
    this.base = 0xfee0_0000n | BASE_ENABLED | (this.options.apicId === 0 ? BASE_BSP : 0n)
    this.deadline = 0n
    this.pendingErrors = 0
    this.nmi = false
    this.timer.cancel()
    this.options.onChange()
  }

  save(): DeviceState {
    return {
      regs: [...this.regs], base: this.base, deadline: this.deadline, timerStartNs: this.timerStartNs,
      timerDeadlineNs: this.timer.deadlineNs, pendingErrors: this.pendingErrors, nmi: this.nmi,
    }
  }

  restore(state: DeviceState): void {
    const { regs, base, deadline } = state
    if (!Array.isArray(regs) || regs.length !== this.regs.length) throw new VmmError('bad-state', `${this.id}: regs must be 64 words`)
    if (typeof base !== 'bigint' || typeof deadline !== 'bigint') throw new VmmError('bad-state', `${this.id}: base and deadline must be integers`)
    this.regs.set(regs as number[])
    this.base = base
    this.deadline = deadline
    this.timerStartNs = Number(state.timerStartNs)
    this.pendingErrors = Number(state.pendingErrors)
    this.nmi = state.nmi === true
    this.timer.arm(Number(state.timerDeadlineNs))
    this.options.onChange()
  }
}

/** Local APIC, xAPIC and x2APIC faces over one register file. Intel SDM vol. 3, chapter 11. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, VirtualClock } from '../bus/types'
import type { TimeStampCounter } from '../timers/tsc'
import { ApicTimer } from './apic-timer'
import type { ApicBus, ApicMessage } from './ioapic'
import type { Oddity } from './oddities'
import { Delivery, deliveryOf, LVT_MASKED, LVT_WRITABLE, Reg, SVR_EOI_SUPPRESSED, X2_READABLE, X2_RESERVED, X2_WRITABLE } from './lapic-registers'

const VERSION = 0x14 | (6 << 16) | (1 << 24)
const LVT_LEVEL = 1 << 15
const LVT_REMOTE_IRR = 1 << 14
const SVR_ENABLED = 1 << 8
const ERROR_SEND_ILLEGAL_VECTOR = 1 << 5
const ERROR_ILLEGAL_VECTOR = 1 << 6
const ERROR_ILLEGAL_REGISTER = 1 << 7
const BASE_BSP = 1n << 8n
const BASE_X2APIC = 1n << 10n
const BASE_ENABLED = 1n << 11n
const BASE_ADDRESS = ~0xfffn
/** Interrupt command register. SDM vol. 3, figure 11-12. */
const Shorthand = { NONE: 0, SELF: 1, ALL: 2, OTHERS: 3 } as const
const ICR_ASSERT = 1 << 14
const ICR_LEVEL_TRIGGERED = 1 << 15
const TO_ITSELF = { logical: false, vector: 0, level: false } as const

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
  /** Its page lies there from now on, over memory too; undefined: nowhere. */
  readonly onPage: (gpa: number | undefined) => void
  readonly note: (oddity: Oddity) => void
}

export class LocalApic implements Device {
  readonly id: string
  /** Version 1 knew neither LINT0's level nor an ExtINT message. */
  readonly stateVersion = 2
  private readonly regs = new Uint32Array(64)
  private base = 0n
  private putPage: ((base: number | undefined) => void) | undefined
  private pendingErrors = 0
  private nmi = false
  /** Level of LINT0: the PIC's INTR. */
  private lint0 = false
  /** An I/O APIC said that the PIC has something. */
  private extInt = false
  readonly timer: ApicTimer

  constructor(private readonly options: LapicOptions) {
    this.id = `lapic${options.apicId}`
    this.timer = new ApicTimer(this.regs, options.clock, options.tsc, () => this.timerFired())
    this.reset()
  }

  /** Its page goes where IA32_APIC_BASE says, over whatever else answers there. SDM vol. 3, 11.4.5. */
  mapInto(memory: AddressSpace): void {
    this.putPage = memory.mapMovable(0x1000, {
      read: (offset) => ((offset & 15) === 0 ? this.read(offset >> 4) : 0),
      write: (offset, _size, value) => {
        if ((offset & 15) === 0) this.write(offset >> 4, value)
      },
    }, 'lapic')
    this.placePage()
  }

  private placePage(): void {
    const { pageAt } = this
    if (!this.putPage) return
    this.putPage(pageAt)
    this.options.onPage(pageAt)
  }

  get x2apic(): boolean {
    return (this.base & BASE_X2APIC) !== 0n
  }

  /** Its page is there in xAPIC mode only. */
  private get pageAt(): number | undefined {
    return (this.base & (BASE_ENABLED | BASE_X2APIC)) === BASE_ENABLED ? Number(this.base & BASE_ADDRESS) : undefined
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
    this.placePage()
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
    return this.timer.tscDeadline
  }

  writeTscDeadline(value: bigint): void {
    this.timer.writeTscDeadline(value)
  }

  // ── registers ─────────────────────────────────────────────────────────────────────────────────────────────────

  private read(register: number): number {
    switch (register) {
      case Reg.ID: return (this.options.apicId << 24) >>> 0
      case Reg.VERSION: return VERSION
      case Reg.PPR: return this.processorPriority()
      case Reg.TIMER_CURRENT: return this.timer.currentCount()
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
      case Reg.LVT_TIMER: this.timer.writeEntry(value, this.enabled); break
      case Reg.LVT_THERMAL: case Reg.LVT_PERF: case Reg.LVT_LINT1: case Reg.LVT_ERROR:
        regs[register] = (value & LVT_WRITABLE[register]) | (this.enabled ? 0 : LVT_MASKED)
        break
      case Reg.LVT_LINT0: this.writeLint0(value); break
      case Reg.TIMER_INITIAL: this.timer.start(value); break
      case Reg.TIMER_DIVIDE: this.timer.writeDivide(value & 0xb); break
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
    if (!this.enabled) {
      if (!level) this.options.note('off')
      return false
    }
    if (vector < 16) this.noteError(ERROR_ILLEGAL_VECTOR)
    else {
      this.setBit(Reg.IRR, vector, true)
      this.setBit(Reg.TMR, vector, level)
      this.options.onChange()
    }
    return true
  }

  /** The PIC's INTR. What a rise does is the entry's delivery mode: through ExtINT the PIC's vector is asked for, see `passesExtInt`. */
  setLint0(level: boolean): void {
    const rises = level && !this.lint0
    this.lint0 = level
    const entry = this.regs[Reg.LVT_LINT0]
    if ((entry & LVT_MASKED) !== 0) return
    switch (deliveryOf(entry)) {
      case Delivery.FIXED: this.deliverLint0(rises); break
      case Delivery.NMI: if (rises) this.acceptNmi(); break
      case Delivery.INIT: if (rises) this.bus.deliver({ ...TO_ITSELF, destination: this.options.apicId, deliveryMode: Delivery.INIT }); break
      case Delivery.SMI: if (rises) this.options.note('smi-dropped'); break
    }
  }

  private deliverLint0(rises: boolean): void {
    const entry = this.regs[Reg.LVT_LINT0]
    if ((entry & LVT_LEVEL) === 0) {
      if (rises) this.accept(entry & 0xff, false)
    } else if (this.lint0 && (entry & LVT_REMOTE_IRR) === 0 && this.accept(entry & 0xff, true)) this.regs[Reg.LVT_LINT0] |= LVT_REMOTE_IRR
  }

  private writeLint0(value: number): void {
    const writable = LVT_WRITABLE[Reg.LVT_LINT0]
    const kept = (value & LVT_LEVEL) !== 0 ? this.regs[Reg.LVT_LINT0] & LVT_REMOTE_IRR : 0
    this.regs[Reg.LVT_LINT0] = (value & writable) | kept | (this.enabled ? 0 : LVT_MASKED)
    this.setLint0(this.lint0)
  }

  /** Is this vector requested, but not yet taken? */
  isRequested(vector: number): boolean {
    return (this.regs[Reg.IRR + (vector >> 5)] & (1 << (vector & 31))) !== 0
  }

  acceptExtInt(): void {
    this.extInt = true
    this.options.onChange()
  }

  /** The PIC is asked for its vector. */
  takeExtInt(): void {
    this.extInt = false
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
      if (level) this.endLevel(vector)
    }
    this.options.onChange()
  }

  private endLevel(vector: number): void {
    const entry = this.regs[Reg.LVT_LINT0]
    if ((entry & LVT_REMOTE_IRR) !== 0 && (entry & 0xff) === vector) {
      this.regs[Reg.LVT_LINT0] &= ~LVT_REMOTE_IRR
      this.setLint0(this.lint0)
    }
    if ((this.regs[Reg.SVR] & SVR_EOI_SUPPRESSED) === 0) this.options.onEoi(vector)
  }

  /** True where the PIC's INTR reaches the CPU: APIC off, LINT0 unmasked in ExtINT mode, or an I/O APIC's word. */
  get passesExtInt(): boolean {
    if ((this.base & BASE_ENABLED) === 0n || this.extInt) return true
    const lint0 = this.regs[Reg.LVT_LINT0]
    return (lint0 & LVT_MASKED) === 0 && deliveryOf(lint0) === Delivery.EXTINT
  }

  get taskPriority(): number {
    return this.regs[Reg.TPR]
  }

  set taskPriority(value: number) {
    this.write(Reg.TPR, value)
  }

  private sendIpi(low: number, destination: number): void {
    const deliveryMode = deliveryOf(low)
    const message = { logical: (low & 0x800) !== 0, deliveryMode, vector: low & 0xff, level: false, ipi: true }
    if (deliveryMode <= Delivery.LOWEST && message.vector < 16) return this.noteError(ERROR_SEND_ILLEGAL_VECTOR)
    if (deliveryMode === Delivery.INIT && (low & ICR_LEVEL_TRIGGERED) !== 0 && (low & ICR_ASSERT) === 0) return this.options.note('init-deassert')
    const shorthand = (low >> 18) & 3
    if (shorthand === Shorthand.NONE) return void this.bus.deliver({ ...message, destination })
    // There is no one else.
    if (shorthand === Shorthand.OTHERS) return
    // Processors let NMIs through, though table 11-3 has fixed interrupts alone.
    if (deliveryMode !== Delivery.FIXED && deliveryMode !== Delivery.NMI) return this.options.note('invalid-shorthand-dropped')
    this.bus.deliver({ ...message, logical: false, destination: this.options.apicId })
  }

  private get bus(): ApicBus {
    return this.options.bus
  }

  private timerFired(): void {
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
    this.placePage()
    this.pendingErrors = 0
    this.nmi = this.extInt = false
    this.timer.reset()
    this.options.onChange()
  }

  save(): DeviceState {
    return {
      regs: [...this.regs], base: this.base, ...this.timer.save(), pendingErrors: this.pendingErrors, nmi: this.nmi,
      lint0: this.lint0, extInt: this.extInt,
    }
  }

  restore(state: DeviceState): void {
    const { regs, base } = state
    if (!Array.isArray(regs) || regs.length !== this.regs.length) throw new VmmError('bad-state', `${this.id}: regs must be 64 words`)
    if (typeof base !== 'bigint') throw new VmmError('bad-state', `${this.id}: base must be an integer`)
    this.regs.set(regs as number[])
    this.base = base
    this.placePage()
    this.pendingErrors = Number(state.pendingErrors)
    this.nmi = state.nmi === true
    this.lint0 = state.lint0 === true
    this.extInt = state.extInt === true
    this.timer.restore(state)
    this.options.onChange()
  }
}

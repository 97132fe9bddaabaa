/** Registers of the local APIC and what may be done with them. Intel SDM vol. 3, chapter 11. */

/** Register numbers: MMIO offset / 16, and x2APIC MSR - 0x800. */
export const Reg = {
  ID: 0x02, VERSION: 0x03, TPR: 0x08, APR: 0x09, PPR: 0x0a, EOI: 0x0b, LDR: 0x0d, DFR: 0x0e, SVR: 0x0f,
  ISR: 0x10, TMR: 0x18, IRR: 0x20, ESR: 0x28, ICR: 0x30, ICR_HIGH: 0x31, LVT_TIMER: 0x32, LVT_THERMAL: 0x33, LVT_PERF: 0x34,
  LVT_LINT0: 0x35, LVT_LINT1: 0x36, LVT_ERROR: 0x37, TIMER_INITIAL: 0x38, TIMER_CURRENT: 0x39, TIMER_DIVIDE: 0x3e, SELF_IPI: 0x3f,
} as const

/** Delivery modes of messages and local vector table entries. SDM vol. 3, 11.5.1, 11.6.1; MultiProcessor Specification for ExtINT. */
export const Delivery = { FIXED: 0, LOWEST: 1, SMI: 2, NMI: 4, INIT: 5, STARTUP: 6, EXTINT: 7 } as const
export const deliveryOf = (entry: number): number => (entry >> 8) & 7

export const LVT_MASKED = 1 << 16

/** The EOI of a level-triggered interrupt is not told to the I/O APICs: software ends it there (SDM vol. 3, 11.8.5). */
export const SVR_EOI_SUPPRESSED = 1 << 12

/** What software may write of each local vector table entry (figure 11-8); the rest is reserved or read-only. */
export const LVT_WRITABLE: Readonly<Record<number, number>> = {
  [Reg.LVT_TIMER]: 0x700ff, [Reg.LVT_THERMAL]: 0x107ff, [Reg.LVT_PERF]: 0x107ff,
  [Reg.LVT_LINT0]: 0x1a7ff, [Reg.LVT_LINT1]: 0x1a7ff, [Reg.LVT_ERROR]: 0x100ff,
}
/** Registers of the x2APIC face besides the local vector table (table 11-6), by what an access may do. */
export const X2_READABLE: ReadonlySet<number> = new Set([
  Reg.ID, Reg.VERSION, Reg.TPR, Reg.PPR, Reg.LDR, Reg.SVR, Reg.ESR, Reg.ICR, Reg.TIMER_INITIAL, Reg.TIMER_CURRENT, Reg.TIMER_DIVIDE,
  ...Array.from({ length: Reg.ESR - Reg.ISR }, (_, i) => Reg.ISR + i),
])
export const X2_WRITABLE: ReadonlySet<number> = new Set([Reg.TPR, Reg.EOI, Reg.SVR, Reg.ESR, Reg.ICR, Reg.TIMER_INITIAL, Reg.TIMER_DIVIDE, Reg.SELF_IPI])
/** Bits of those registers that must be zero in a write. */
export const X2_RESERVED: Readonly<Record<number, number>> = {
  [Reg.TPR]: ~0xff, [Reg.EOI]: ~0, [Reg.SVR]: ~(0x1ff | SVR_EOI_SUPPRESSED), [Reg.ESR]: ~0, [Reg.TIMER_DIVIDE]: ~0xb, [Reg.SELF_IPI]: ~0xff,
}

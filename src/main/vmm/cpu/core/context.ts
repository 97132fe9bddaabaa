/** What instruction helpers written in TypeScript see of the machine. Engines (T0 and up, the oracle) implement it. */
import type { CpuState } from '../state/access'

/** Exception vectors, Intel SDM vol. 3, 6.3.1. */
export const Vector = {
  DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14,
  MF: 16, AC: 17, MC: 18, XM: 19,
} as const

/**
 * A guest exception raised inside a helper. Engines catch it at the helper's boundary, before it meets generated code,
 * and deliver it with RIP at the faulting instruction. `cr2` is set by whoever finds the page fault, before throwing.
 */
export class CpuFault {
  // Not an Error: guests fault thousands of times a second, and a stack trace costs more than the rest of the delivery.
  constructor(readonly vector: number, readonly errorCode?: number) {}

  get message(): string {
    return `#${this.vector}${this.errorCode === undefined ? '' : ` (${this.errorCode.toString(16)})`}`
  }
}

/** Rights a linear access is checked with. `current`: by CPL; `system`: supervisor whatever the CPL (descriptor tables, TSS). */
export type Privilege = 'current' | 'system' | 'user'

/** Linear addresses are unsigned 64-bit; in legacy modes callers truncate to 32 bits first. Accesses may cross pages. */
export interface LinearMemory {
  /** Little-endian load of 1, 2 or 4 bytes. Throws CpuFault #PF (CR2 set), #GP/#SS for non-canonical addresses. */
  read(linear: bigint, size: 1 | 2 | 4, privilege?: Privilege): number
  read64(linear: bigint, privilege?: Privilege): bigint
  /** Four bytes as supervisor, by the halves of their address. Contexts without it are asked by `read`. */
  readSystem32?(lo: number, hi: number): number
  write(linear: bigint, size: 1 | 2 | 4, value: number, privilege?: Privilege): void
  write64(linear: bigint, value: bigint, privilege?: Privilege): void
  /** Checks [linear, linear+length) for the access without making it; throws as the access would. */
  probe(linear: bigint, length: number, write: boolean, privilege?: Privilege): void
  /**
   * The bytes themselves where [linear, linear+length) lies in one page of RAM and the access is allowed; undefined
   * otherwise, with nothing changed. For writes the page is marked and code in the range dropped already.
   */
  directBytes(linear: bigint, length: number, write: boolean): Uint8Array | undefined
  readBytes(linear: bigint, target: Uint8Array, privilege?: Privilege): void
  writeBytes(linear: bigint, source: Uint8Array, privilege?: Privilege): void
}

/** Guest-physical memory as page walks see it (RAM only; elsewhere reads give all ones). `gpa` in bytes, below 2^52. */
export interface PhysicalMemory {
  readU32(gpa: number): number
  writeU32(gpa: number, value: number): void
}

/** The outside of the CPU. */
export interface CpuPlatform {
  portIn(port: number, size: 1 | 2 | 4): number
  portOut(port: number, size: 1 | 2 | 4, value: number): void
  /** Time-stamp counter as the guest sees it. */
  readTsc(): bigint
  /** The same as halves, put at two byte offsets: read at every system call of some kernels. */
  readTscInto(view: DataView, low: number, high: number): void
  writeTsc(value: bigint): void
  /** MSRs kept by the local APIC and the clock: APIC base, x2APIC range 0x800–0x8ff, TSC deadline, kvmclock. undefined: no such MSR. */
  readMsr(index: number): bigint | undefined
  /** False: no such MSR or a reserved bit set; the instruction raises #GP(0). */
  writeMsr(index: number, value: bigint): boolean
  /** CR8 = task priority bits 7:4 of the local APIC. */
  readTpr(): number
  writeTpr(value: number): void
  /** 64 random bits. */
  random64(): bigint
}

export interface CpuidResult { readonly eax: number; readonly ebx: number; readonly ecx: number; readonly edx: number }

/** The CPU model: CPUID leaves and what they promise. Instructions absent from the model raise #UD. */
export interface CpuModel {
  cpuid(leaf: number, subleaf: number, state: CpuState): CpuidResult
  /** True where the model has the feature; names as in the instruction table's `cpuid` column. */
  has(feature: string): boolean
  /** Bits of CR4 a guest may set; others raise #GP. */
  readonly cr4Allowed: bigint
  readonly eferAllowed: bigint
  readonly xcr0Allowed: bigint
  readonly physicalAddressBits: number
}

export interface CpuContext {
  readonly state: CpuState
  readonly memory: LinearMemory
  readonly platform: CpuPlatform
  readonly model: CpuModel
  /** Drops cached translations: all, or all but global ones. */
  flushTlb(keepGlobal: boolean): void
  /**
   * A load of CR3 takes another address space into force. Its cached translations, by PCID, are dropped unless they are to be kept;
   * global ones stay. Contexts without it drop them all.
   */
  enterAddressSpace?(pcid: number, keep: boolean): void
  /** Drops cached translations of one linear page: in the address space in force, or in every one. */
  invalidatePage(linear: bigint, everySpace?: boolean): void
  /**
   * Must follow every change of segments, CR0/CR3/CR4/EFER, CPL, RFLAGS.TF/VM/IF/AC or debug registers made by a helper:
   * recomputes derived cells, picks the TLB, and lets pending interrupts be looked at before the next block.
   */
  modeChanged(): void
  /** As `modeChanged`, where only CPL, RFLAGS and SS changed and CS was loaded with a selector of its kind: cheaper for 64-bit code. */
  privilegeChanged?(): void
  /** INT n where it is the common case (`events/quick.ts`). False: nothing was done. */
  interruptQuickly?(vector: number, returnRip: bigint): boolean
  /** INT n, INT3 and INTO clear TF: no single-step trap follows them. */
  noteSoftwareInterrupt?(): void
  /** Makes generated code return at the next block head: HLT. Contexts that run one instruction at a time need none of these three. */
  requestExit?(): void
  /** STI set RFLAGS.IF: interrupts that wait are taken after the next instruction. Cheaper than `modeChanged`. */
  interruptsEnabled?(): void
  /** PAE paging: loads the PDPTE registers for this CR3 (low half). False: a reserved bit is set, nothing changed. */
  loadPdptes?(cr3: number): boolean
  /** Counts an opcode that raised #UD because it is not implemented. */
  noteUnimplemented(name: string): void
}

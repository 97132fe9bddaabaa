/**
 * The supervisor's side of the tests: page tables, IDT, GDT and TSS in 64 KiB of guest memory, mapped from KERNEL on for
 * CPL 0 only. Each vector has a handler of its own, an endless jump; the stack frame tells what happened.
 */
import type { CpuState } from '../../src/main/vmm/cpu/state/access'
import { Seg } from '../../src/main/vmm/cpu/state/layout'
import type { IsaCase } from './engine'
import { CODE_BASE, CODE_BYTES, DATA_BASE, environmentBlock, type FreshBlock, type IsaRecord, NO_VECTOR, WINDOW, WINDOW_BYTES } from './records'

export const PAGE = 4096
/** Guest-physical pages, all of them mapped from KERNEL on. */
export const Page = {
  PML4: 0, LOW_PDPT: 1, LOW_PD: 2, LOW_PT: 3, IDT: 4, GDT: 5, TSS: 6, HANDLERS: 7, STACK: 8, CODE: 10, DATA: 12,
  HIGH_PDPT: 13, HIGH_PD: 14, HIGH_PT: 15,
} as const
export const RAM_BYTES = 16 * PAGE
export const KERNEL = 0xffff_8000_0000_0000n
const STACK_TOP = 0x9ff0
const HANDLER_BYTES = 16
const CODE64_SELECTOR = 0x10
const NX = 1n << 63n
/** Handlers of SYSCALL from 64-bit and compatibility mode and of SYSENTER: vectors no instruction test raises. */
const SYSCALL_ENTRY = 0xf0
const COMPAT_ENTRY = 0xf1
const SYSENTER_ENTRY = 0xf2

const handlerAddress = (vector: number): bigint => KERNEL + BigInt(Page.HANDLERS * PAGE + vector * HANDLER_BYTES)

const HANDLERS_HIGH = Number(handlerAddress(0) >> 32n)
const HANDLERS_LOW = Number(handlerAddress(0) & 0xffff_ffffn)

class ImageBuilder {
  readonly bytes = new Uint8Array(RAM_BYTES)
  private readonly view = new DataView(this.bytes.buffer)

  private put64(page: number, index: number, value: bigint): void {
    this.view.setBigUint64(page * PAGE + index * 8, BigInt.asUintN(64, value), true)
  }

  build(): Uint8Array {
    this.pageTables()
    this.put64(Page.GDT, CODE64_SELECTOR / 8, 0x0020_9b00_0000_0000n)
    this.view.setBigUint64(Page.TSS * PAGE + 4, KERNEL + BigInt(STACK_TOP), true)
    // I/O bitmap past the limit: no port is allowed at CPL 3.
    this.view.setUint16(Page.TSS * PAGE + 0x66, 0x68, true)
    for (let vector = 0; vector < 256; vector++) this.gate(vector)
    return this.bytes
  }

  private pageTables(): void {
    const table = (page: number): bigint => BigInt(page * PAGE) | 0x27n
    this.put64(Page.PML4, 0, table(Page.LOW_PDPT))
    this.put64(Page.PML4, 256, table(Page.HIGH_PDPT))
    this.put64(Page.LOW_PDPT, 0, table(Page.LOW_PD))
    this.put64(Page.LOW_PD, CODE_BASE >>> 21, table(Page.LOW_PT))
    this.put64(Page.HIGH_PDPT, 0, table(Page.HIGH_PD))
    this.put64(Page.HIGH_PD, 0, table(Page.HIGH_PT))
    const leaf = (linear: number): number => (linear >>> 12) & 0x1ff
    for (let i = 0; i < CODE_BYTES / PAGE; i++) this.put64(Page.LOW_PT, leaf(CODE_BASE) + i, BigInt((Page.CODE + i) * PAGE) | 0x67n)
    this.put64(Page.LOW_PT, leaf(DATA_BASE), BigInt(Page.DATA * PAGE) | 0x67n | NX)
    for (let i = 0; i < 16; i++) this.put64(Page.HIGH_PT, i, BigInt(i * PAGE) | 0x63n)
  }

  /** 64-bit interrupt gate, DPL 3. */
  private gate(vector: number): void {
    const offset = handlerAddress(vector)
    const low = (offset & 0xffffn) | (BigInt(CODE64_SELECTOR) << 16n) | (0xee00n << 32n) | (((offset >> 16n) & 0xffffn) << 48n)
    this.put64(Page.IDT, vector * 2, low)
    this.put64(Page.IDT, vector * 2 + 1, offset >> 32n)
    this.bytes.set([0xeb, 0xfe], Page.HANDLERS * PAGE + vector * HANDLER_BYTES)
  }
}

const CODE_AT = Page.CODE * PAGE
const DATA_AT = Page.DATA * PAGE
/** Where the data window lies in guest memory. */
export const WINDOW_IN_RAM = DATA_AT + WINDOW - DATA_BASE
const INT3S = 0xcccc_cccc_cccc_ccccn
/** What only the supervisor may write, but for its stack: `[first byte, end]`. */
const SUPERVISOR: readonly (readonly [number, number])[] = [
  [0, Page.STACK * PAGE], [DATA_AT + PAGE, RAM_BYTES],
]

/** Guest memory of an engine: the image, and in it the code and data of one case after the other. */
export class CaseMemory {
  private readonly image = new ImageBuilder().build()
  private readonly words: BigUint64Array

  /** @param ram RAM_BYTES bytes, 8-byte aligned */
  constructor(readonly ram: Uint8Array) {
    this.words = new BigUint64Array(ram.buffer, ram.byteOffset, RAM_BYTES / 8)
    ram.set(this.image)
  }

  /** What a case may have written is as new, and the next case's code and data are in place. */
  load({ input, mode, length }: IsaCase): void {
    const { ram, words } = this
    words.fill(INT3S, CODE_AT / 8, (CODE_AT + CODE_BYTES) / 8)
    words.fill(0n, DATA_AT / 8, WINDOW_IN_RAM / 8)
    const offset = input.view.getUint32(136, true) + (mode === 16 ? CODE_BASE : 0) - CODE_BASE
    ram.set(input.code.subarray(0, length), CODE_AT + offset)
    ram.set(input.window, WINDOW_IN_RAM)
  }

  /** Throws where a case has changed what is the supervisor's. */
  check(): void {
    for (const [first, end] of SUPERVISOR) {
      if (Buffer.compare(this.ram.subarray(first, end), this.image.subarray(first, end)) === 0) continue
      const at = this.ram.findIndex((byte, i) => i >= first && byte !== this.image[i])
      throw new Error(`byte 0x${at.toString(16)} of the test kernel was changed`)
    }
  }

  /** The window as a case has left it. */
  takeWindow(result: IsaRecord): void {
    result.window.set(this.ram.subarray(WINDOW_IN_RAM, WINDOW_IN_RAM + WINDOW_BYTES))
  }
}

/** What `loadState` begins with: the mode's environment, and registers that point into the image. */
export function freshBlocks(): (one: IsaCase) => FreshBlock {
  const made = new Map<string, FreshBlock>()
  return ({ mode, segments = 'plain' }) => {
    const key = `${mode}${segments}`
    const known = made.get(key) ?? environmentBlock(mode, segments, loadKernel)
    made.set(key, known)
    return known
  }
}

/** Registers that point into the image. */
function loadKernel(state: CpuState): void {
  const at = (page: number): bigint => KERNEL + BigInt(page * PAGE)
  state.set64('cr3', 0n)
  state.set64('gdtrBase', at(Page.GDT))
  state.set('gdtrLimit', 0x1f)
  state.set64('idtrBase', at(Page.IDT))
  state.set('idtrLimit', PAGE - 1)
  state.set64('segBase', at(Page.TSS), Seg.TR)
  state.set64('star', (0x1bn << 48n) | (BigInt(CODE64_SELECTOR) << 32n))
  state.set64('lstar', handlerAddress(SYSCALL_ENTRY))
  state.set64('cstar', handlerAddress(COMPAT_ENTRY))
  state.set64('sfmask', 0x4_7700n)
  state.set64('sysenterCs', BigInt(CODE64_SELECTOR))
  state.set64('sysenterEip', handlerAddress(SYSENTER_ENTRY))
  state.set64('sysenterEsp', KERNEL + BigInt(STACK_TOP))
}

/** Vector (or entry) whose handler RIP is in; undefined elsewhere. */
export function handlerOf(state: CpuState): number | undefined {
  if (state.hi('rip') !== HANDLERS_HIGH) return undefined
  const offset = state.lo('rip') - HANDLERS_LOW
  return offset >= 0 && offset < PAGE ? offset / HANDLER_BYTES : undefined
}

/**
 * Takes the exception's stack frame apart: puts the state before delivery into the result.
 * @param ram the 64 KiB as the run left them
 */
export function unwind(one: IsaCase, state: CpuState, ram: Uint8Array, result: IsaRecord): void {
  const vector = handlerOf(state)
  if (vector === undefined) { result.vector = NO_VECTOR; return }
  if (vector >= SYSCALL_ENTRY) { result.vector = vector; return }
  const view = new DataView(ram.buffer, ram.byteOffset)
  const slot = (n: number): bigint => view.getBigUint64(STACK_TOP - 8 * n, true)
  const hasError = state.gpr(4) === KERNEL + BigInt(STACK_TOP - 48)
  result.setGpr(4, slot(2))
  result.rflags = slot(3) & ~0x1_0000n
  result.rip = slot(5)
  result.vector = vector
  // Elsewhere than in the code under test it was INT3, or what lay there: an instruction has branched to it.
  const isSoftware = /^INT/.test(one.form.row.mnemonic)
  if (isSoftware && vector !== 3) return
  if (vector === 3) result.rip -= 1n
  const inside = result.rip >= one.input.rip && result.rip < one.input.rip + BigInt(one.length)
  if (vector === 3 || !inside) { result.vector = NO_VECTOR; return }
  result.error = hasError ? Number(slot(6)) : 0
  result.cr2 = vector === 14 ? state.get64('cr2') : 0n
}

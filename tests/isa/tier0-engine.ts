/**
 * Tier 0 as an engine: a whole vCPU with paging on, at CPL 3. INT3 around the instruction, or its own fault, delivers
 * through the IDT to a handler page in the upper half, where an endless jump waits; the stack frame tells the rest.
 */
import { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { buildInterpreter, numberHandlers, PSEUDO_SLOTS } from '../../src/main/vmm/cpu/interp/builder'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { Seg, STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { CODE_TLB_BYTES, CODE_TLB_SETS, TLB_BYTES, TLB_VIEWS } from '../../src/main/vmm/mmu/tlb-layout'
import type { WasmEngine } from '../../src/main/vmm/ports'
import type { IsaCase, IsaEngine } from './engine'
import { fullModel, silentPlatform } from './environment'
import {
  CODE_BASE, CODE_BYTES, DATA_BASE, IsaRecord, loadState, NO_VECTOR, storeState, TIMED_OUT, WINDOW, WINDOW_BYTES,
} from './records'

const PAGE = 4096
/** Guest-physical pages. The first sixteen are also mapped, for the supervisor only, from KERNEL on. */
const Page = {
  PML4: 0, LOW_PDPT: 1, LOW_PD: 2, LOW_PT: 3, IDT: 4, GDT: 5, TSS: 6, HANDLERS: 7, STACK: 8, CODE: 10, DATA: 12,
  HIGH_PDPT: 13, HIGH_PD: 14, HIGH_PT: 15,
} as const
const RAM_BYTES = 16 * PAGE
const KERNEL = 0xffff_8000_0000_0000n
const STACK_TOP = 0x9ff0
const HANDLER_BYTES = 16
const CODE64_SELECTOR = 0x10
const NX = 1n << 63n
/** Long enough for any REP count the generator gives. */
const SLICE = 400
const MAX_SLICES = 8

const wasm: WasmEngine = {
  createMemory: (pages) => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) as unknown as { buffer: SharedArrayBuffer },
  createTable: (initial) => new WebAssembly.Table({ initial, element: 'anyfunc' }),
  compile: (bytes) => new WebAssembly.Module(bytes as BufferSource),
  instantiate: (module, imports) => new WebAssembly.Instance(module as WebAssembly.Module, imports as WebAssembly.Imports),
}

/** Layout of linear memory, each part page aligned. */
function place(): { state: number; tlb: number; codeTlb: number; decodeCache: number; decodeCacheBytes: number; table: number; frames: number; total: number } {
  let at = 0
  const take = (bytes: number): number => {
    const start = at
    at = Math.ceil((at + bytes) / PAGE) * PAGE
    return start
  }
  const decodeCacheBytes = 1 << 20
  return {
    state: take(STATE_SIZE), tlb: take(TLB_BYTES * TLB_VIEWS), codeTlb: take(CODE_TLB_BYTES * CODE_TLB_SETS),
    decodeCache: take(decodeCacheBytes), decodeCacheBytes, table: take(RAM_BYTES / PAGE * 4), frames: take(RAM_BYTES), total: at,
  }
}

class Tier0Engine implements IsaEngine {
  readonly name = 'tier 0'
  private readonly layout = place()
  private readonly vcpu: Vcpu
  private readonly ram: Uint8Array
  private readonly view: DataView
  /** Tables as set up; a case may change accessed bits and the like. */
  private readonly image: Uint8Array

  constructor(decode: Decode) {
    const memory = wasm.createMemory(Math.ceil(this.layout.total / 65_536))
    const { buffer } = memory
    this.ram = new Uint8Array(buffer, this.layout.frames, RAM_BYTES)
    this.view = new DataView(buffer, this.layout.frames, RAM_BYTES)
    const frames = new FrameTable(buffer, { tableBase: this.layout.table, framesBase: this.layout.frames, ramBytes: RAM_BYTES })
    const ram = new PhysicalRam(buffer, frames)
    const handlers = numberHandlers(isaRows)
    const { bytes, helpers } = buildInterpreter(isaRows)
    this.vcpu = new Vcpu({
      memory, layout: this.layout, ram, mmio: { read: () => 0xffff_ffff, write: () => {} }, platform: silentPlatform, model: fullModel,
      interrupts: { pendingVector: () => -1, acknowledge: () => -1, takeNmi: () => false },
      decode, slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) }, tableSize: handlers.size + 8, wasm,
      interpreter: { module: wasm.compile(bytes), helpers },
    })
    ram.setCodeWriteListener((page, offset, length) => this.vcpu.codeWritten(page, offset, length))
    this.buildTables()
    this.image = this.ram.slice()
  }

  private put64(page: number, index: number, value: bigint): void {
    this.view.setBigUint64(page * PAGE + index * 8, BigInt.asUintN(64, value), true)
  }

  private buildTables(): void {
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
    this.put64(Page.GDT, CODE64_SELECTOR / 8, 0x0020_9b00_0000_0000n)
    this.view.setBigUint64(Page.TSS * PAGE + 4, KERNEL + BigInt(STACK_TOP), true)
    for (let vector = 0; vector < 256; vector++) this.buildGate(vector)
  }

  /** 64-bit interrupt gate, DPL 3, to an endless jump of its own. */
  private buildGate(vector: number): void {
    const offset = KERNEL + BigInt(Page.HANDLERS * PAGE + vector * HANDLER_BYTES)
    const low = (offset & 0xffffn) | (BigInt(CODE64_SELECTOR) << 16n) | (0xee00n << 32n) | (((offset >> 16n) & 0xffffn) << 48n)
    this.put64(Page.IDT, vector * 2, low)
    this.put64(Page.IDT, vector * 2 + 1, offset >> 32n)
    this.ram.set([0xeb, 0xfe], Page.HANDLERS * PAGE + vector * HANDLER_BYTES)
  }

  run(cases: readonly IsaCase[]): readonly IsaRecord[] {
    return cases.map((one) => this.runOne(one))
  }

  private runOne(one: IsaCase): IsaRecord {
    const { state } = this.vcpu
    this.ram.set(this.image)
    this.ram.fill(0xcc, Page.CODE * PAGE, Page.CODE * PAGE + CODE_BYTES)
    const codeAt = Number(one.input.rip) + (one.mode === 16 ? CODE_BASE : 0) - CODE_BASE
    this.ram.set(one.input.code.subarray(0, one.length), Page.CODE * PAGE + codeAt)
    const windowAt = Page.DATA * PAGE + WINDOW - DATA_BASE
    this.ram.set(one.input.window, windowAt)
    state.bytes.fill(0)
    loadState(state, one.input, one.mode)
    this.loadSystem()
    this.vcpu.afterReset()
    for (let i = 0; i < MAX_SLICES && this.handlerVector() === undefined; i++) this.vcpu.run(SLICE)
    const result = new IsaRecord()
    storeState(state, result)
    this.unwind(one, result)
    result.window.set(this.ram.subarray(windowAt, windowAt + WINDOW_BYTES))
    return result
  }

  private loadSystem(): void {
    const { state } = this.vcpu
    const at = (page: number): bigint => KERNEL + BigInt(page * PAGE)
    state.set64('cr3', 0n)
    state.set64('gdtrBase', at(Page.GDT))
    state.set('gdtrLimit', 0x1f)
    state.set64('idtrBase', at(Page.IDT))
    state.set('idtrLimit', PAGE - 1)
    state.set64('segBase', at(Page.TSS), Seg.TR)
  }

  /** Vector whose handler RIP is in, undefined where it is elsewhere. */
  private handlerVector(): number | undefined {
    const offset = this.vcpu.state.get64('rip') - KERNEL - BigInt(Page.HANDLERS * PAGE)
    return offset >= 0n && offset < BigInt(PAGE) ? Number(offset) / HANDLER_BYTES : undefined
  }

  /** Takes the exception's stack frame apart: the state before delivery. */
  private unwind(one: IsaCase, result: IsaRecord): void {
    const vector = this.handlerVector()
    if (vector === undefined) { result.vector = TIMED_OUT; return }
    const slot = (n: number): bigint => this.view.getBigUint64(STACK_TOP - 8 * n, true)
    result.setGpr(4, slot(2))
    result.rflags = slot(3) & ~0x1_0000n
    const rip = slot(5)
    const hasError = this.vcpu.state.gpr(4) === KERNEL + BigInt(STACK_TOP - 48)
    const isTrap = vector === 3
    // A fault anywhere else than at the instruction is INT3's neighbour: the instruction has branched there.
    if (isTrap || rip !== one.input.rip) {
      result.rip = isTrap ? rip - 1n : rip
      result.vector = NO_VECTOR
      return
    }
    result.rip = rip
    result.vector = vector
    result.error = hasError ? Number(slot(6)) : 0
    result.cr2 = vector === 14 ? this.vcpu.state.get64('cr2') : 0n
  }
}

export function createTier0TestEngine(decode: Decode): IsaEngine {
  return new Tier0Engine(decode)
}

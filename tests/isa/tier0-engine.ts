/**
 * Tier 0 as an engine: a whole vCPU with paging on, at CPL 3. INT3 around the instruction, or its own fault, delivers
 * through the IDT to a handler of `kernel.ts`.
 */
import { Vcpu, type VcpuLayout } from '../../src/main/vmm/cpu/core/vcpu'
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { buildInterpreter, numberHandlers, PSEUDO_SLOTS } from '../../src/main/vmm/cpu/interp/builder'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { CODE_TLB_BYTES, CODE_TLB_SETS, TLB_BYTES, TLB_VIEWS } from '../../src/main/vmm/mmu/tlb-layout'
import type { WasmEngine, WasmMemory } from '../../src/main/vmm/ports'
import type { IsaCase, IsaEngine } from './engine'
import { fullModel, silentPlatform } from './environment'
import { buildImage, handlerOf, loadKernel, Page, PAGE, RAM_BYTES, unwind } from './kernel'
import { CODE_BASE, CODE_BYTES, DATA_BASE, IsaRecord, loadState, storeState, TIMED_OUT, WINDOW, WINDOW_BYTES } from './records'

/** Long enough for any REP count the generator gives. */
const SLICE = 400
const MAX_SLICES = 8

const wasm: WasmEngine = {
  createMemory: (pages) => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) as unknown as WasmMemory,
  createTable: (initial) => new WebAssembly.Table({ initial, element: 'anyfunc' }),
  compile: (bytes) => new WebAssembly.Module(bytes as BufferSource),
  instantiate: (module, imports) => new WebAssembly.Instance(module as WebAssembly.Module, imports as WebAssembly.Imports),
}

/** Layout of linear memory, each part page aligned. */
function place(): VcpuLayout & { readonly table: number; readonly frames: number; readonly total: number } {
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
  private readonly image = buildImage()

  constructor(decode: Decode) {
    const memory = wasm.createMemory(Math.ceil(this.layout.total / 65_536))
    const { buffer } = memory
    this.ram = new Uint8Array(buffer, this.layout.frames, RAM_BYTES)
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
    loadState(state, one.input, one.mode, one.segments)
    loadKernel(state)
    this.vcpu.afterReset()
    for (let i = 0; i < MAX_SLICES && handlerOf(state) === undefined; i++) this.vcpu.run(SLICE)
    const result = new IsaRecord()
    storeState(state, result)
    if (handlerOf(state) === undefined) result.vector = TIMED_OUT
    else unwind(one, state, this.ram, result)
    result.window.set(this.ram.subarray(windowAt, windowAt + WINDOW_BYTES))
    return result
  }
}

export function createTier0TestEngine(decode: Decode): IsaEngine {
  return new Tier0Engine(decode)
}

/**
 * A tier as an engine: a whole vCPU with paging on, at CPL 3. INT3 around the instruction, or its own fault, delivers
 * through the IDT to a handler of `kernel.ts`.
 */
import { CpuFault } from '../../src/main/vmm/cpu/core/context'
import type { VcpuLayout } from '../../src/main/vmm/cpu/core/types'
import { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'
import { InsnScanner } from '../../src/main/vmm/cpu/decode/scanner'
import { buildInterpreter, type InterpreterModule } from '../../src/main/vmm/cpu/interp/builder'
import { numberHandlers } from '../../src/main/vmm/cpu/interp/handler-table'
import { PSEUDO_SLOTS } from '../../src/main/vmm/cpu/interp/record'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { CODE_TLB_BYTES, CODE_TLB_SETS, TLB_AREA_BYTES } from '../../src/main/vmm/mmu/tlb-layout'
import { CodeWindow } from '../../src/main/vmm/cpu/dbt/code-window'
import type { CodeCache } from '../../src/main/vmm/cpu/dbt/code-cache'
import type { BlockSource } from '../../src/main/vmm/cpu/interp/decode-cache'
import type { WasmEngine, WasmMemory } from '../../src/main/vmm/ports'
import type { IsaCase, IsaEngine } from './engine'
import { fullModel, silentPlatform } from './environment'
import { CaseMemory, freshBlocks, handlerOf, PAGE, RAM_BYTES, unwind } from './kernel'
import { DATA_BASE, IsaRecord, loadState, storeState, TIMED_OUT } from './records'

/** Long enough for any REP count the generator gives. */
const SLICE = 400
const MAX_SLICES = 8
const CASES_PER_VCPU = 3000
const CASES_PER_MODULE = 100

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
    state: take(STATE_SIZE), tlb: take(TLB_AREA_BYTES), codeTlb: take(CODE_TLB_BYTES * CODE_TLB_SETS),
    decodeCache: take(decodeCacheBytes), decodeCacheBytes, table: take(RAM_BYTES / PAGE * 4), frames: take(RAM_BYTES), total: at,
  }
}

/** A window of one page in which any code runs often. */
const wholePage = (memory: Uint8Array, host: number): CodeWindow =>
  Object.assign(new CodeWindow(memory, { linearPage: 0, pages: [{ delta: 0, host, warm: [], went: [] }] }), { isWarm: () => true })

class VcpuEngine implements IsaEngine {
  readonly name: string
  readonly sampled: boolean
  private readonly layout = place()
  private vcpu!: Vcpu
  private kernel!: CaseMemory
  private used = 0
  private readonly interpreter: InterpreterModule
  private readonly interpreterModule: unknown
  private readonly freshBlock = freshBlocks()
  private readonly scanner = new InsnScanner(isaRows, () => true)

  /** @param handlersAlone tier 0 without its switch */
  constructor(private readonly tier: 0 | 1 | 2, handlersAlone: boolean) {
    this.name = handlersAlone ? `tier ${tier}, handlers alone` : `tier ${tier}`
    this.sampled = tier > 0 || handlersAlone
    this.interpreter = buildInterpreter(isaRows, { handlersAlone })
    this.interpreterModule = wasm.compile(this.interpreter.bytes)
    this.powerOn()
  }

  /** A new vCPU: the host's table of functions gets slower with every module that was ever put into it. */
  private powerOn(): void {
    this.used = 0
    const memory = wasm.createMemory(Math.ceil(this.layout.total / 65_536))
    const { buffer } = memory
    this.kernel = new CaseMemory(new Uint8Array(buffer, this.layout.frames, RAM_BYTES))
    const frames = new FrameTable(buffer, { tableBase: this.layout.table, framesBase: this.layout.frames, ramBytes: RAM_BYTES })
    const ram = new PhysicalRam(buffer, frames)
    const handlers = numberHandlers(isaRows)
    this.vcpu = new Vcpu({
      memory, layout: this.layout, ram, mmio: { read: () => 0xffff_ffff, write: () => {} }, platform: silentPlatform, model: fullModel,
      interrupts: { pendingVector: () => -1, acknowledge: () => -1, takeNmi: () => false },
      scanner: this.scanner, slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) }, wasm,
      interpreter: { ...this.interpreter, module: this.interpreterModule },
      tiers: { max: this.tier, hotAfter: 1, hotLoopAfter: 1, batch: 1, now: () => 0 },
    })
    ram.setCodeWriteListener((page, offset, length) => this.vcpu.codeWritten(page, offset, length))
  }

  run(cases: readonly IsaCase[]): readonly IsaRecord[] {
    const results: IsaRecord[] = []
    for (let at = 0; at < cases.length; at += CASES_PER_MODULE) {
      const some = cases.slice(at, at + CASES_PER_MODULE)
      results.push(...(this.tier === 0 ? some.map((one) => this.runOne(one)) : this.runTranslated(some)))
      this.kernel.check()
    }
    return results
  }

  /** Translates the first block of each case into one module, then runs them. Blocks reached later follow on their own. */
  private runTranslated(cases: readonly IsaCase[]): IsaRecord[] {
    this.used += cases.length
    if (this.used > CASES_PER_VCPU) this.powerOn()
    const translations = this.vcpu.translations as CodeCache
    const draft = translations.options.translator.begin()
    let made = 0
    const places = cases.map((one) => {
      this.prepare(one)
      const block = this.firstBlock()
      if (!block) return undefined
      const host = translations.options.hostOfPage(block.code.page)
      const code = { ...block, modeKey: block.code.modeKey, host }
      const fn = this.tier === 1 ? draft.add(code) : draft.addRegion(code, wholePage(translations.options.translator.memory, host), 'any')
      if (!fn) return undefined
      for (const { offset, bytes } of fn.ranges) this.vcpu.cache.noteTranslated(block.code, offset, offset + bytes.length - 1)
      return made++
    })
    const count = places.filter((place) => place !== undefined).length
    if (count === 0) return cases.map((one) => this.runOne(one))
    const first = translations.load(draft.finish(), count)
    const results = cases.map((one, i) => {
      const place = places[i]
      return this.runOne(one, () => {
        const block = this.firstBlock()
        if (block && place !== undefined) this.vcpu.cache.install(block, first + place)
      })
    })
    translations.drop(Array.from({ length: count }, (_, i) => first + i))
    return results
  }

  private firstBlock(): BlockSource | undefined {
    try {
      const block = this.vcpu.blockHere()
      return block && block.records[0].kind === 'insn' ? block : undefined
    } catch (error) {
      // The fetch faults: `run` will find that too, and deliver it.
      if (!(error instanceof CpuFault)) throw error
      return undefined
    }
  }

  private prepare(one: IsaCase): void {
    const { state } = this.vcpu
    this.kernel.load(one)
    loadState(state, this.freshBlock(one), one.input)
    this.vcpu.afterReset()
    this.fillTlb()
  }

  /** The data page, as a program that runs for a while has it: else every access would be a slow path's. */
  private fillTlb(): void {
    this.vcpu.memory.hostOf(DATA_BASE, 0, 1, true)
  }

  private runOne(one: IsaCase, beforeRun?: () => void): IsaRecord {
    this.prepare(one)
    beforeRun?.()
    const { state } = this.vcpu
    for (let i = 0; i < MAX_SLICES && handlerOf(state) === undefined; i++) this.vcpu.run(SLICE)
    const result = new IsaRecord()
    storeState(state, result)
    if (handlerOf(state) === undefined) result.vector = TIMED_OUT
    else unwind(one, state, this.kernel.ram, result)
    this.kernel.takeWindow(result)
    return result
  }
}

export function createVcpuTestEngine(tier: 0 | 1 | 2, handlersAlone = false): IsaEngine {
  return new VcpuEngine(tier, handlersAlone)
}

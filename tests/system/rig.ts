/** A bare PC for test kernels: one CPU with PIC and PIT, a debug port that keeps what it hears, a port that ends the run. */
import { NodeWasmEngine } from '../../src/main/host'
import { powerOnState } from '../../src/main/vmm/boot/apply'
import type { TierOptions } from '../../src/main/vmm/cpu/core/types'
import { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'
import { createCpuModel } from '../../src/main/vmm/cpu/cpuid'
import type { KeptTranslations } from '../../src/main/vmm/cpu/dbt/translation-pack'
import { InsnScanner } from '../../src/main/vmm/cpu/decode/scanner'
import { TripleFault } from '../../src/main/vmm/cpu/events/deliver'
import { TestPlatform } from '../../src/main/vmm/cpu/helpers/system/test-cpu'
import { type InterpreterModule, buildInterpreter } from '../../src/main/vmm/cpu/interp/builder'
import { numberHandlers } from '../../src/main/vmm/cpu/interp/handler-table'
import { PSEUDO_SLOTS } from '../../src/main/vmm/cpu/interp/record'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { Gpr, Seg } from '../../src/main/vmm/cpu/state/layout'
import { planLinearMemory } from '../../src/main/vmm/machine/linear-layout'
import { FrameTable } from '../../src/main/vmm/memory/frame-table'
import { PhysicalRam } from '../../src/main/vmm/memory/guest-memory'
import { Bench } from '../devices/platform-bench'
import type { LateTranslator } from './late-translator'

export const KERNEL_AT = 0x8000
export const MEMORY_MIB = 16
const PORT_LOG = 0xe9
const PORT_EXIT = 0xf4
const SLICE = 100_000
/** With a translator that answers later: short, so that it is heard often. */
const SHORT_SLICE = 300
/** A run that takes longer than this has gone astray; the largest kernel needs a tenth of it. */
const MAX_SLICES = 400

const wasm = new NodeWasmEngine()

class RigPlatform extends TestPlatform {
  readonly said: number[] = []
  exited = false

  constructor(private readonly bench: Bench, private readonly onExit: () => void) {
    super()
  }

  override portIn(port: number, size: 1 | 2 | 4): number {
    return this.bench.io.read(port, size)
  }

  override portOut(port: number, size: 1 | 2 | 4, value: number): void {
    if (port === PORT_LOG) this.said.push(value & 0xff)
    else if (port === PORT_EXIT) {
      this.exited = true
      this.onExit()
    } else this.bench.io.write(port, size, value)
  }

  log(): string {
    return new TextDecoder('latin1').decode(Uint8Array.from(this.said))
  }
}

export interface RigRun {
  /** What the kernel wrote, then `exit`, or why the machine stopped otherwise. */
  readonly log: string
  readonly instructions: number
  /** For the next run of the same kernel. */
  readonly translations: Uint8Array | undefined
  /** Blocks that began with a translation of an earlier run. */
  readonly adopted: number
  /** Functions put into use. */
  readonly translated: number
  /** Those of them that are regions. */
  readonly regions: number
  /** Blocks whose translation was set aside and came back. */
  readonly returned: number
  /** TLB misses that generated code dealt with. */
  readonly filled: number
  /** Times everything was dropped, there being more functions than allowed; most functions and modules seen between two slices. */
  readonly renewals: number
  readonly most: { readonly functions: number; readonly modules: number }
}

export interface RigOptions {
  /** Default: as a machine's. */
  readonly decodeCacheBytes?: number
  /** Translated functions kept at a time; default: as a machine's. */
  readonly mostFunctions?: number
  /** Called each time the CPU halts. */
  readonly onHalt?: (cpu: Vcpu) => void
}

/** Interpreter modules are built once for all runs of a worker. */
function createInterpreter(): () => InterpreterModule & { module: unknown } {
  let made: (InterpreterModule & { module: unknown }) | undefined
  return () => {
    if (made) return made
    const interpreter = buildInterpreter(isaRows)
    return (made = { ...interpreter, module: wasm.compile(interpreter.bytes) })
  }
}

export type Tier = 0 | 1 | 2

/** Blocks are translated at once, so that short kernels get to every tier. */
function tiersUpTo(max: Tier): TierOptions {
  // How long batches wait must not depend on the computer: every look at the clock takes 10 ms.
  let ns = 0
  return { max, hotAfter: 1, hotLoopAfter: 1, batch: 1, now: () => (ns += 10e6) }
}

const interpreter = createInterpreter()

function createCpu(bench: Bench, tier: Tier, background?: LateTranslator, { decodeCacheBytes, mostFunctions }: RigOptions = {}): { cpu: Vcpu; platform: RigPlatform; ram: PhysicalRam; framesBase: number } {
  const layout = planLinearMemory(MEMORY_MIB)
  const memory = wasm.createMemory(layout.wasmPages)
  const ram = new PhysicalRam(memory.buffer, new FrameTable(memory.buffer, layout.frames))
  const handlers = numberHandlers(isaRows)
  const model = createCpuModel('nestbox64', { tscKHz: 1_000_000, apicId: 0, cpuCount: 1 })
  const platform = new RigPlatform(bench, () => cpu.requestExit())
  const cpu: Vcpu = new Vcpu({
    memory, layout: { ...layout.vcpu, ...(decodeCacheBytes ? { decodeCacheBytes } : {}) }, ram, mmio: bench.mmio, platform, model, wasm, interrupts: bench.interrupts,
    scanner: new InsnScanner(isaRows, (name) => model.has(name)),
    slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) }, interpreter: interpreter(), tiers: { ...tiersUpTo(tier), ...(background ? { background } : {}), ...(mostFunctions ? { mostFunctions } : {}) },
  })
  ram.setCodeWriteListener((page, offset, length) => cpu.codeWritten(page, offset, length))
  return { cpu, platform, ram, framesBase: layout.frames.framesBase }
}

/** The most translations that were held at a time. */
class Most {
  functions = 0
  modules = 0
  note({ translations }: Vcpu): void {
    this.functions = Math.max(this.functions, translations?.held.functions ?? 0)
    this.modules = Math.max(this.modules, translations?.held.modules ?? 0)
  }
}

/** As `kernels/boot.asm` leaves the processor: real mode, at 0:8000. */
function enterKernel({ state }: Vcpu): void {
  powerOnState(state)
  state.set('segSelector', 0, Seg.CS)
  state.set64('segBase', 0n, Seg.CS)
  state.set64('rip', BigInt(KERNEL_AT))
}

/** Runs a flat image until it writes to the exit port or cannot go on. */
export function runKernel(image: Uint8Array, tier: Tier, translations?: KeptTranslations, late?: LateTranslator, options: RigOptions = {}): RigRun {
  const bench = new Bench()
  const { cpu, platform, ram } = createCpu(bench, tier, late, options)
  const slice = late ? SHORT_SLICE : SLICE
  bench.changed = () => cpu.requestExit()
  if (translations) cpu.translations?.loadPack(translations)
  ram.write(KERNEL_AT, image)
  enterKernel(cpu)
  cpu.afterReset()
  let end = 'astray'
  const most = new Most()
  try {
    for (let left = MAX_SLICES * SLICE; left > 0 && !platform.exited; left -= slice) {
      if (cpu.run(slice) === 'halted' && !platform.exited) {
        options.onHalt?.(cpu)
        bench.time.advance(1_000_000)
      } else bench.time.advance(slice)
      late?.advance(cpu)
      most.note(cpu)
    }
    if (platform.exited) end = 'exit'
  } catch (error) {
    if (!(error instanceof TripleFault)) throw error
    end = 'triple fault'
  }
  return {
    log: `${platform.log()}${end}\n`, instructions: cpu.counters.instructions,
    translations: cpu.translations?.pack(), adopted: cpu.translations?.adopted ?? 0, translated: cpu.translations?.blocks ?? 0, regions: cpu.translations?.regions ?? 0, returned: cpu.translations?.returned ?? 0,
    filled: cpu.state.get('tlbFills'), renewals: cpu.translations?.renewals ?? 0, most: { functions: most.functions, modules: most.modules },
  }
}

/** Power-on EDX is the processor's signature: here for the test that compares it with CPUID. */
export function powerOnSignature(): { edx: number; cpuid: number } {
  const { cpu } = createCpu(new Bench(), 0)
  powerOnState(cpu.state)
  return { edx: cpu.state.lo('gpr', Gpr.RDX), cpuid: cpu.model.cpuid(1, 0, cpu.state).eax }
}

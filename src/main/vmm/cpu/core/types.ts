/** What a vCPU is made of, and what it tells of itself. */
import type { IoHandler } from '../../bus/types'
import type { PhysicalRam } from '../../memory/guest-memory'
import type { WasmEngine, WasmMemory } from '../../ports'
import type { TranslationThread } from '../dbt/translation-job'
import type { InsnScanner } from '../decode/scanner'
import type { Helper } from '../emit/emitter'
import type { CallSlots } from '../interp/builder'
import type { HandlerSlots } from '../interp/record-writer'
import type { CpuModel, CpuPlatform } from './context'
import type { Exit } from './exits'

/** What the interrupt controllers show to one CPU. When it may have changed, they have `requestExit` called. */
export interface InterruptSource {
  /** Vector that would be taken now if interrupts were enabled, -1 none. */
  pendingVector(): number
  /** Takes it: the controller moves it from requested to in service. */
  acknowledge(): number
  /** True once for each NMI that came. */
  takeNmi(): boolean
}

/** Places in linear memory given to one vCPU, byte offsets. */
export interface VcpuLayout {
  readonly state: number
  readonly tlb: number
  readonly codeTlb: number
  readonly decodeCache: number
  readonly decodeCacheBytes: number
}

export interface VcpuOptions {
  readonly memory: WasmMemory
  readonly layout: VcpuLayout
  readonly ram: PhysicalRam
  readonly mmio: IoHandler
  readonly platform: CpuPlatform
  readonly model: CpuModel
  readonly interrupts: InterruptSource
  /** Decodes guest code, for this vCPU alone. */
  readonly scanner: InsnScanner
  readonly slots: HandlerSlots
  readonly wasm: WasmEngine
  /** Compiled tier 0 module, the helpers it imports, and where it puts them in the table. */
  readonly interpreter: { readonly module: unknown; readonly helpers: readonly Helper[]; readonly calls: CallSlots; readonly tableSize: number }
  /** Default: tier 0 alone. */
  readonly tiers?: TierOptions
  /** Told once of each opcode that raised #UD because it is not implemented. */
  readonly onUnimplemented?: (name: string) => void
}

export interface TierOptions {
  /** Highest tier used: 0 interprets only. */
  readonly max: 0 | 1 | 2
  /** Entries after which a block is translated. */
  readonly hotAfter: number
  /** Jumps back by one branch of tier 1 after which the loop is translated as a region. */
  readonly hotLoopAfter: number
  /** Blocks compiled at once. */
  readonly batch: number
  /** Host time in nanoseconds, for figures. */
  readonly now: () => number
  /** Translated functions kept at a time; default: what a machine needs. */
  readonly mostFunctions?: number
  /** Where translation is done beside the guest; default: between two entries into generated code. */
  readonly background?: TranslationThread
}

export interface VcpuCounters {
  instructions: number
  exceptions: number
  interrupts: number
  exits: Record<keyof typeof Exit, number>
  unimplemented: Map<string, number>
}

/** A place in guest code. */
export interface CpuSpot {
  /** Linear address of RIP, as halves. */
  readonly lo: number
  readonly hi: number
  readonly modeKey: number
  readonly cpl: number
  /** Tier that runs the code there; where none has it yet, 0. */
  readonly tier: 0 | 1 | 2
  /** Guest frame that holds it, -1 where it was not decoded. */
  readonly page: number
}

/** What virtual CPUs need that belongs to no machine: made once a process, also before anybody knows which machine will run. */
import { InsnScanner } from '../cpu/decode/scanner'
import { buildInterpreter } from '../cpu/interp/builder'
import { numberHandlers } from '../cpu/interp/handler-table'
import { loadInterpreter, type PrebuiltInterpreter } from '../cpu/interp/prebuilt'
import { PSEUDO_SLOTS } from '../cpu/interp/record'
import type { HandlerSlots } from '../cpu/interp/record-writer'
import { isaRows } from '../cpu/isa'
import type { CpuModel } from '../cpu/core/context'
import type { VcpuOptions } from '../cpu/core/types'
import type { WasmEngine } from '../ports'

/** Machines of one process may share it: nothing in it outlasts the decoding of one instruction. */
export interface CpuKit {
  /** Tier 0, compiled. */
  readonly interpreter: VcpuOptions['interpreter']
  readonly slots: HandlerSlots
  /** For the instructions that the model has; models of one profile share it. */
  scannerFor(profile: string, model: CpuModel): InsnScanner
}

/** @param prebuilt tier 0 as it was built with the program; built anew where it is missing or of another table */
export function createCpuKit(wasm: WasmEngine, prebuilt?: PrebuiltInterpreter): CpuKit {
  const loaded = prebuilt && loadInterpreter(isaRows, prebuilt)
  // The bytes stay with the engine alone.
  const { bytes, handlers, ...interpreter } = loaded ?? { ...buildInterpreter(isaRows), handlers: numberHandlers(isaRows) }
  const revived = loaded && prebuilt.machineCode && wasm.revive?.(prebuilt.bytes, prebuilt.machineCode)
  const scanners = new Map<string, InsnScanner>()
  return {
    interpreter: { ...interpreter, module: revived ?? wasm.compile(bytes) },
    slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) },
    scannerFor(profile, model) {
      const scanner = scanners.get(profile) ?? new InsnScanner(isaRows, (feature) => model.has(feature))
      scanners.set(profile, scanner)
      return scanner
    },
  }
}

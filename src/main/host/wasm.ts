/** Node's WebAssembly behind the core's port. */
import { VmmError } from '../vmm/errors'
import type { WasmEngine, WasmInstance, WasmMemory, WasmTable } from '../vmm/ports'
import { settleEngineFlags } from './engine-flags'
import { moduleFrom } from './machine-code'

export class NodeWasmEngine implements WasmEngine {
  constructor() {
    settleEngineFlags()
  }

  createMemory(pages: number): WasmMemory {
    try {
      return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) as unknown as WasmMemory
    } catch (cause) {
      const size = Math.round(pages / 16)
      throw new VmmError('no-memory', `the host gave no ${size} MiB of memory for the machine`, { reason: 'hostMemory', pages, size }, { cause })
    }
  }

  createTable(initial: number): WasmTable {
    return new WebAssembly.Table({ initial, element: 'anyfunc' }) as unknown as WasmTable
  }

  compile(bytes: Uint8Array): unknown {
    return new WebAssembly.Module(bytes as BufferSource)
  }

  revive(bytes: Uint8Array, machineCode: Uint8Array): unknown {
    try {
      return moduleFrom(bytes, machineCode)
    } catch {
      return undefined
    }
  }

  instantiate(module: unknown, imports: Record<string, Record<string, unknown>>): WasmInstance {
    return new WebAssembly.Instance(module as WebAssembly.Module, imports as WebAssembly.Imports) as unknown as WasmInstance
  }
}

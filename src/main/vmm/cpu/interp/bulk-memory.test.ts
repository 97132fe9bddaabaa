import { expect, it } from 'vitest'
import type { WasmEngine, WasmMemory } from '../../ports'
import { createBulkMemory } from './bulk-memory'

const wasm: WasmEngine = {
  createMemory: (pages) => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) as unknown as WasmMemory,
  createTable: (size) => new WebAssembly.Table({ element: 'anyfunc', initial: size }) as unknown as ReturnType<WasmEngine['createTable']>,
  compile: (bytes) => new WebAssembly.Module(bytes as BufferSource),
  instantiate: (module, imports) => new WebAssembly.Instance(module as WebAssembly.Module, imports as WebAssembly.Imports),
}

const text = (bytes: Uint8Array, at: number, length: number): string => String.fromCharCode(...bytes.slice(at, at + length))

it('copies, also where the ranges overlap, and fills', () => {
  const memory = wasm.createMemory(1)
  const bytes = new Uint8Array(memory.buffer)
  const bulk = createBulkMemory(wasm, memory)
  for (let i = 0; i < 10; i++) bytes[100 + i] = 0x30 + i
  bulk.copy(200, 100, 10)
  expect(text(bytes, 200, 10)).toBe('0123456789')
  bulk.copy(202, 200, 8)
  expect(text(bytes, 200, 10)).toBe('0101234567')
  bulk.copy(200, 203, 7)
  expect(text(bytes, 200, 10)).toBe('1234567567')
  bulk.fill(201, 0x2a, 3)
  expect(text(bytes, 200, 10)).toBe('1***567567')
  bulk.fill(65_535, 1, 1)
  expect(bytes[65_535]).toBe(1)
  expect(() => bulk.fill(65_535, 1, 2)).toThrow(WebAssembly.RuntimeError)
})

/**
 * Machine code that the engine made of a wasm module, as bytes for another process. Neither Node nor Electron offers a call for it, so
 * these are functions of the engine's own (V8's `Runtime_SerializeWasmModule` and `Runtime_DeserializeWasmModule`). They refuse code of
 * another version, other flags or another processor, but end the process where they are called in a way they do not know. So code is
 * only read where a process of the same engine has made and read it: `vm-host/pack-compiler.ts`.
 */
import { setFlagsFromString } from 'node:v8'
import { settleEngineFlags } from './engine-flags'

interface EngineFunctions {
  readonly serialize: (module: object) => ArrayBuffer
  readonly deserialize: (code: ArrayBuffer, bytes: Uint8Array) => object | undefined
}

/** Names the engine in file names: what one made no other can use. */
export const ENGINE = `${process.versions.v8}-${process.arch}`

let found: EngineFunctions | undefined

/** @throws SyntaxError where this engine has no such functions */
function engineFunctions(): EngineFunctions {
  if (found) return found
  settleEngineFlags()
  setFlagsFromString('--allow-natives-syntax')
  try {
    // The engine's functions have names only its parser knows.
    const make = (parameters: string[], body: string): unknown => Reflect.construct(Function, [...parameters, body])
    found = {
      serialize: make(['module'], 'return %SerializeWasmModule(module)') as EngineFunctions['serialize'],
      deserialize: make(['code', 'bytes'], 'return %DeserializeWasmModule(code, bytes)') as EngineFunctions['deserialize'],
    }
  } finally {
    setFlagsFromString('--no-allow-natives-syntax')
  }
  return found
}

/** Compiles every function at once, with the optimising compiler. @throws CompileError */
export function compileWhole(bytes: Uint8Array): object {
  engineFunctions()
  const flags = ['liftoff', 'wasm-lazy-compilation']
  for (const flag of flags) setFlagsFromString(`--no-${flag}`)
  try {
    return new WebAssembly.Module(bytes as BufferSource)
  } finally {
    for (const flag of flags) setFlagsFromString(`--${flag}`)
  }
}

/** @param module of which something is optimised: the engine ends the process otherwise */
export const machineCodeOf = (module: object): Uint8Array => new Uint8Array(engineFunctions().serialize(module))

/**
 * @param bytes the very wasm module that the code was made of: the engine does not compare
 * @returns undefined where the code is of another engine, or these are other flags
 * @throws SyntaxError where this engine has no such functions
 */
export function moduleFrom(bytes: Uint8Array, code: Uint8Array): object | undefined {
  const { deserialize } = engineFunctions()
  // The engine reads from the beginning of a buffer. What has none of its own is copied; megabytes, so files are read into their own.
  const alone = code.byteOffset === 0 && code.buffer instanceof ArrayBuffer && code.buffer.byteLength === code.length ? code.buffer : new Uint8Array(code).buffer
  return deserialize(alone, bytes)
}

/** Writes WebAssembly binary modules: bytes, LEB128, sections. Knows nothing of guests. */
import { VALTYPE_CODE, type ValType } from './opcodes'

/** Of a body that says nothing about its branches. */
export const NO_HINTS = new Uint8Array()

/** Growing byte buffer. */
export class ByteWriter {
  private bytes: Uint8Array
  length = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
  }

  private reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  u8(value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  raw(source: Uint8Array): void {
    this.reserve(source.length)
    this.bytes.set(source, this.length)
    this.length += source.length
  }

  /** Unsigned LEB128 of a value below 2^32. */
  u32(value: number): void {
    let v = value >>> 0
    while (v > 0x7f) {
      this.u8((v & 0x7f) | 0x80)
      v >>>= 7
    }
    this.u8(v)
  }

  /** Signed LEB128 of an i32. */
  s32(value: number): void {
    let v = value | 0
    for (;;) {
      const low = v & 0x7f
      v >>= 7
      if ((v === 0 && (low & 0x40) === 0) || (v === -1 && (low & 0x40) !== 0)) return this.u8(low)
      this.u8(low | 0x80)
    }
  }

  /** Signed LEB128 of an i64. */
  s64(value: bigint): void {
    let v = BigInt.asIntN(64, value)
    if (v >= -0x8000_0000n && v < 0x8000_0000n) return this.s32(Number(v))
    for (;;) {
      const low = Number(v & 0x7fn)
      v >>= 7n
      if ((v === 0n && (low & 0x40) === 0) || (v === -1n && (low & 0x40) !== 0)) return this.u8(low)
      this.u8(low | 0x80)
    }
  }

  name(text: string): void {
    this.u32(text.length)
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i))
  }

  take(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }
}

export interface FuncType { readonly params: readonly ValType[]; readonly results: readonly ValType[] }

interface ImportedFunction { readonly module: string; readonly name: string; readonly type: number }
interface DefinedFunction { readonly type: number; body: Uint8Array; hints: Uint8Array; readonly export?: string }

/** Collects types, imports and functions; `finish` gives the module's bytes. Function indices: imports first. */
export class ModuleBuilder {
  private readonly types: FuncType[] = []
  private readonly imports: ImportedFunction[] = []
  private readonly functions: DefinedFunction[] = []
  private readonly elements: number[] = []

  typeIndex(type: FuncType): number {
    const same = (a: readonly ValType[], b: readonly ValType[]): boolean => a.length === b.length && a.every((t, i) => t === b[i])
    const found = this.types.findIndex((t) => same(t.params, type.params) && same(t.results, type.results))
    if (found >= 0) return found
    this.types.push(type)
    return this.types.length - 1
  }

  /** Returns the function's index. All imports must come before the first definition. */
  importFunction(module: string, name: string, type: FuncType): number {
    if (this.functions.length > 0) throw new RangeError('imports come before definitions')
    this.imports.push({ module, name, type: this.typeIndex(type) })
    return this.imports.length - 1
  }

  get importedFunctions(): readonly ImportedFunction[] {
    return this.imports
  }

  /** Reserves an index; the body (locals and code, without its size) may be set later. */
  defineFunction(type: FuncType, exportName?: string): number {
    this.functions.push({ type: this.typeIndex(type), body: new Uint8Array(), hints: NO_HINTS, ...(exportName ? { export: exportName } : {}) })
    return this.imports.length + this.functions.length - 1
  }

  /** @param hints which way the body's branches mostly go: the vector of them that the branch hinting proposal wants for a function */
  setBody(index: number, body: Uint8Array, hints: Uint8Array = NO_HINTS): void {
    Object.assign(this.functions[index - this.imports.length], { body, hints })
  }

  /** Function indices to place in the imported table, from the offset `finish` is told. */
  setElements(functionIndices: readonly number[]): void {
    this.elements.splice(0, this.elements.length, ...functionIndices)
  }

  /**
   * @param memoryPages minimum and maximum pages of the imported shared memory `env.memory`
   * @param elementOffset first table slot of the elements; 'imported': the i32 given as `env.base`
   */
  finish(memoryPages: number, elementOffset: number | 'imported'): Uint8Array {
    const out = new ByteWriter(1 << 16)
    for (const b of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(b)
    this.section(out, 1, (w) => this.writeTypes(w))
    this.section(out, 2, (w) => this.writeImports(w, memoryPages, elementOffset === 'imported'))
    this.section(out, 3, (w) => {
      w.u32(this.functions.length)
      for (const fn of this.functions) w.u32(fn.type)
    })
    this.section(out, 7, (w) => this.writeExports(w))
    if (this.elements.length > 0) this.section(out, 9, (w) => this.writeElements(w, elementOffset))
    if (this.functions.some(({ hints }) => hints.length > 0)) this.section(out, 0, (w) => this.writeHints(w))
    this.section(out, 10, (w) => {
      w.u32(this.functions.length)
      for (const fn of this.functions) {
        w.u32(fn.body.length)
        w.raw(fn.body)
      }
    })
    return out.take()
  }

  private section(out: ByteWriter, id: number, write: (w: ByteWriter) => void): void {
    const w = new ByteWriter(1024)
    write(w)
    out.u8(id)
    out.u32(w.length)
    out.raw(w.take())
  }

  private writeTypes(w: ByteWriter): void {
    w.u32(this.types.length)
    for (const type of this.types) {
      w.u8(0x60)
      for (const list of [type.params, type.results]) {
        w.u32(list.length)
        for (const t of list) w.u8(VALTYPE_CODE[t])
      }
    }
  }

  private writeImports(w: ByteWriter, memoryPages: number, base: boolean): void {
    w.u32(this.imports.length + (base ? 3 : 2))
    w.name('env')
    w.name('memory')
    w.u8(2)
    w.u8(3) // shared, with maximum
    w.u32(1)
    w.u32(memoryPages)
    w.name('env')
    w.name('table')
    w.u8(1)
    w.u8(0x70)
    w.u8(0)
    w.u32(0)
    if (base) {
      w.name('env')
      w.name('base')
      w.u8(3)
      w.u8(0x7f)
      w.u8(0)
    }
    for (const fn of this.imports) {
      w.name(fn.module)
      w.name(fn.name)
      w.u8(0)
      w.u32(fn.type)
    }
  }

  private writeExports(w: ByteWriter): void {
    const named = this.functions.flatMap((fn, i) => (fn.export ? [{ name: fn.export, index: this.imports.length + i }] : []))
    w.u32(named.length)
    for (const { name, index } of named) {
      w.name(name)
      w.u8(0)
      w.u32(index)
    }
  }

  /** The custom section of the branch hinting proposal; compilers that do not know it skip it. */
  private writeHints(w: ByteWriter): void {
    w.name('metadata.code.branch_hint')
    w.u32(this.functions.filter(({ hints }) => hints.length > 0).length)
    this.functions.forEach(({ hints }, i) => {
      if (hints.length === 0) return
      w.u32(this.imports.length + i)
      w.raw(hints)
    })
  }

  private writeElements(w: ByteWriter, offset: number | 'imported'): void {
    w.u32(1)
    w.u8(0)
    if (offset === 'imported') {
      w.u8(0x23) // global.get 0
      w.u32(0)
    } else {
      w.u8(0x41) // i32.const
      w.s32(offset)
    }
    w.u8(0x0b)
    w.u32(this.elements.length)
    for (const index of this.elements) w.u32(index)
  }
}

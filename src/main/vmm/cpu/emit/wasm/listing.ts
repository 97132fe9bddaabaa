/** A wasm function body as text, one instruction a line: for people who look at what guest code became, and for golden tests. */
import { Op, VALTYPE_CODE, nameOfOpcode, type Immediate } from './opcodes'

/** What the listing calls things by. */
export interface ListingNames {
  /** Of a function of the module, by index. */
  readonly call?: (index: number) => string | undefined
  /** Of the memory cell at an offset from parameter 0. */
  readonly cell?: (offset: number) => string | undefined
}

const TYPE_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(VALTYPE_CODE).map(([name, code]) => [code, name]))

class Reader {
  at = 0

  constructor(private readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.at >= this.bytes.length
  }

  u8(): number {
    if (this.done) throw new RangeError('the function body ends within an instruction')
    return this.bytes[this.at++]
  }

  /** Unsigned LEB128, up to 32 bits. */
  u32(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8()
      value += (byte & 0x7f) * 2 ** shift
      if ((byte & 0x80) === 0) return value
    }
  }

  /** Signed LEB128. */
  signed(): bigint {
    let value = 0n
    for (let shift = 0n; ;) {
      const byte = this.u8()
      value |= BigInt(byte & 0x7f) << shift
      shift += 7n
      if ((byte & 0x80) === 0) return (byte & 0x40) !== 0 ? value - (1n << shift) : value
    }
  }

  raw(count: number): number[] {
    return Array.from({ length: count }, () => this.u8())
  }
}

/** Small numbers as they are, large ones in hexadecimal: those are addresses and masks. */
function numberText(value: bigint, bits: number): string {
  return value > -4096n && value < 4096n ? String(value) : `0x${BigInt.asUintN(bits, value).toString(16)}`
}

function localsLine(r: Reader): string[] {
  const runs: string[] = []
  for (let left = r.u32(); left > 0; left--) {
    const count = r.u32()
    const code = r.u8()
    const type = TYPE_NAMES.get(code)
    if (!type) throw new RangeError(`0x${code.toString(16)} is no value type`)
    runs.push(`${type}*${count}`)
  }
  return runs.length > 0 ? [`locals ${runs.join(' ')}`] : []
}

function immediateText(r: Reader, kind: Immediate, names: ListingNames): string {
  switch (kind) {
    case 'none': return ''
    case 'type': return r.u8() === Op.void ? '' : ' (typed)'
    case 'local': case 'label': return ` ${r.u32()}`
    // One label more than the vector's length: the default's.
    case 'labels': return Array.from({ length: r.u32() + 1 }, () => ` ${r.u32()}`).join('')
    case 'lane': return ` ${r.u8()}`
    // There is one memory.
    case 'memory-index': r.raw(1); return ''
    case 'two-memory-indices': r.raw(2); return ''
    case 'i32': return ` ${numberText(r.signed(), 32)}`
    case 'i64': return ` ${numberText(r.signed(), 64)}`
    case 'lanes': return ` ${r.raw(16).join(' ')}`
    case 'v128': return ` 0x${r.raw(16).reverse().map((byte) => byte.toString(16).padStart(2, '0')).join('')}`
    case 'function': {
      const index = r.u32()
      return ` ${names.call?.(index) ?? index}`
    }
    case 'indirect': {
      const type = r.u32()
      r.u32()
      return ` (type ${type})`
    }
    case 'memory': {
      r.u32()
      const offset = r.u32()
      return offset === 0 ? '' : ` offset=${offset}`
    }
  }
}

/**
 * @param body locals and code, as `FunctionBuilder.encode` gives them
 * @throws RangeError for what is no function body, or holds instructions the encoder does not write
 */
export function listFunction(body: Uint8Array, names: ListingNames = {}): string[] {
  const r = new Reader(body)
  const lines = localsLine(r)
  let depth = 0
  let before = ''
  while (!r.done) {
    const first = r.u8()
    const prefixed = first === Op.prefixFC || first === Op.prefixFD
    const code = prefixed ? r.u32() : first
    const found = nameOfOpcode(prefixed ? first : 0, code)
    if (!found) throw new RangeError(`no wasm instruction has the opcode ${prefixed ? `0x${first.toString(16)} ` : ''}0x${code.toString(16)}`)
    if (first === Op.end || first === Op.else) depth--
    const text = `${found.name}${immediateText(r, found.immediate, names)}`
    const offset = found.immediate === 'memory' && before === 'local.get 0' ? Number(/offset=(\d+)/.exec(text)?.[1] ?? 0) : -1
    const cell = offset >= 0 ? names.cell?.(offset) : undefined
    if (depth >= 0) lines.push(`${'  '.repeat(Math.max(depth, 0))}${text}${cell ? `  ;; ${cell}` : ''}`)
    if (found.immediate === 'type' || first === Op.else) depth++
    before = text
  }
  return lines
}

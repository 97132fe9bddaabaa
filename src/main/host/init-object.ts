/**
 * A shared object without any code: when it is loaded, the loader itself calls one function of the C library. So a program that can
 * load add-ons but has no call for that function can have it called. ELF-64, System V ABI chapters 4 and 5.
 */

/** Of each architecture: e_machine, and the relocation that stores a symbol's 64-bit address. */
const ARCHITECTURES: Readonly<Record<string, { readonly machine: number; readonly absolute: number }>> = {
  x64: { machine: 62, absolute: 1 },
  arm64: { machine: 183, absolute: 257 },
}

/** The largest page that Linux has on these: segments are aligned to it. */
const ALIGNMENT = 0x10000
const ELF_HEADER = 64
const PROGRAM_HEADER = 56
const SYMBOL = 24
const RELOCATION = 24
const ADDRESS = 8
const ET_DYN = 3
const Segment = { LOAD: 1, DYNAMIC: 2, GNU_STACK: 0x6474_e551 } as const
const READ_WRITE = 6
/** Offsets in the file, which are the addresses too. */
const SYMBOLS = ELF_HEADER + 3 * PROGRAM_HEADER
const HASH = SYMBOLS + 2 * SYMBOL
const RELOCATIONS = HASH + 16
const INIT_ARRAY = RELOCATIONS + RELOCATION
const DYNAMIC = INIT_ARRAY + ADDRESS
const Tag = { HASH: 4, STRTAB: 5, SYMTAB: 6, RELA: 7, RELASZ: 8, RELAENT: 9, STRSZ: 10, SYMENT: 11, INIT_ARRAY: 25, INIT_ARRAYSZ: 27 } as const
const STRINGS = DYNAMIC + (Object.keys(Tag).length + 1) * 16

const GLOBAL_FUNCTION = 0x12
const SYMBOL_INFO = 4

/** Little-endian fields at given places. */
class Image {
  readonly bytes: Uint8Array
  private readonly view: DataView

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.view = new DataView(this.bytes.buffer)
  }

  half(at: number, value: number): void { this.view.setUint16(at, value, true) }
  word(at: number, value: number): void { this.view.setUint32(at, value, true) }
  wide(at: number, ...values: readonly number[]): void { values.forEach((value, i) => this.view.setBigUint64(at + i * 8, BigInt(value), true)) }

  segment(number: number, type: number, at: number, size: number, alignment: number): void {
    const header = ELF_HEADER + number * PROGRAM_HEADER
    this.word(header, type)
    this.word(header + 4, READ_WRITE)
    this.wide(header + 8, at, at, at, size, size, alignment)
  }
}

function writeHeader(image: Image, machine: number): void {
  image.bytes.set([0x7f, 0x45, 0x4c, 0x46, /* ELFCLASS64 */ 2, /* ELFDATA2LSB */ 1, /* EV_CURRENT */ 1])
  image.half(16, ET_DYN)
  image.half(18, machine)
  image.word(20, 1)
  image.wide(32, ELF_HEADER)
  image.half(52, ELF_HEADER)
  image.half(54, PROGRAM_HEADER)
  image.half(56, 3)
}

/**
 * @param symbol name of a function that takes the program's number of arguments and may ignore two more: what an initialiser gets
 * @param architecture as Node calls it
 * @returns the file's bytes; undefined for an architecture that is not known here
 */
export function objectThatCalls(symbol: string, architecture: string = process.arch): Uint8Array | undefined {
  const known = ARCHITECTURES[architecture] as (typeof ARCHITECTURES)[string] | undefined
  if (!known) return undefined
  const strings = `\0${symbol}\0`
  const image = new Image(STRINGS + strings.length)
  writeHeader(image, known.machine)
  image.segment(0, Segment.LOAD, 0, image.bytes.length, ALIGNMENT)
  image.segment(1, Segment.DYNAMIC, DYNAMIC, STRINGS - DYNAMIC, ADDRESS)
  // Without it the loader takes it that the stack must be executable.
  image.segment(2, Segment.GNU_STACK, 0, 0, 16)
  image.word(SYMBOLS + SYMBOL, 1)
  image.bytes[SYMBOLS + SYMBOL + SYMBOL_INFO] = GLOBAL_FUNCTION
  // One bucket and two symbols, none of them to be found: it defines nothing.
  image.word(HASH, 1)
  image.word(HASH + 4, 2)
  image.wide(RELOCATIONS, INIT_ARRAY)
  image.word(RELOCATIONS + 8, known.absolute)
  image.word(RELOCATIONS + 12, 1)
  const values = {
    HASH, STRTAB: STRINGS, SYMTAB: SYMBOLS, RELA: RELOCATIONS, RELASZ: RELOCATION, RELAENT: RELOCATION, STRSZ: strings.length, SYMENT: SYMBOL,
    INIT_ARRAY, INIT_ARRAYSZ: ADDRESS,
  }
  Object.entries(values).forEach(([name, value], i) => image.wide(DYNAMIC + i * 16, Tag[name as keyof typeof Tag], value))
  image.bytes.set(new TextEncoder().encode(strings), STRINGS)
  return image.bytes
}

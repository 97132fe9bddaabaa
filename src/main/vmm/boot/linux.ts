/**
 * The Linux/x86 boot protocol: puts a bzImage, initrd and command line into guest memory and says in which state the CPU
 * enters it. Documentation/arch/x86/boot.rst of the kernel. The image is guest-controlled input: everything is checked.
 */
import { VmmError } from '../errors'
import type { GuestMemory } from '../bus/types'
import { Layout } from '../firmware/layout'
import { buildE820 } from './e820'

/** Offsets in the image and in the zero page (they coincide from 0x1f1 on). */
const Header = {
  setupSects: 0x1f1, bootFlag: 0x1fe, jump: 0x200, magic: 0x202, version: 0x206, typeOfLoader: 0x210, loadFlags: 0x211,
  ramdiskImage: 0x218, ramdiskSize: 0x21c, heapEnd: 0x224, cmdLinePtr: 0x228, initrdAddrMax: 0x22c, kernelAlignment: 0x230,
  relocatable: 0x234, xloadflags: 0x236, cmdlineSize: 0x238, prefAddress: 0x258, initSize: 0x260,
} as const
/** Zero page only. */
const ZeroPage = { e820Count: 0x1e8, e820Table: 0x2d0, acpiRsdp: 0x70 } as const
const MAGIC = 0x53726448 // "HdrS"
const BOOT_FLAG = 0xaa55
const XLF_KERNEL_64 = 1
const LOADED_HIGH = 1
const CAN_USE_HEAP = 0x80
const LOADER_UNDEFINED = 0xff
const ENTRY_64 = 0x200
const PAGE = 4096
/** Room between `Layout.commandLine` and the legacy hole, with a wide margin. */
const MAX_COMMAND_LINE = 0x10000

export interface SetupHeader {
  readonly version: number
  /** Offset of the protected-mode code in the image. */
  readonly codeOffset: number
  readonly headerEnd: number
  readonly is64Bit: boolean
  readonly initrdAddrMax: number
  readonly cmdlineSize: number
  /** Bytes the kernel uses from `runAddress` on before it reads the memory map; 0 where the header does not say. */
  readonly initSize: number
  /** Where the kernel decompresses to when loaded at 1 MiB. */
  readonly runAddress: number
}

/** State the CPU starts the kernel in. Segments are flat; interrupts are off. */
export interface BootState {
  readonly mode: 'long' | 'protected'
  readonly rip: number
  readonly rsi: number
  readonly rsp: number
  /** Page tables for long mode: the first 4 GiB mapped one to one. */
  readonly cr3: number
  readonly gdtBase: number
  readonly gdtLimit: number
}

export interface LinuxImages {
  readonly image: Uint8Array
  readonly initrd?: Uint8Array
  readonly commandLine: string
}

function bad(message: string, details: Record<string, unknown> = {}): VmmError {
  return new VmmError('bad-kernel', message, details)
}

const notLinux = (mark: string): VmmError => bad(`not a Linux kernel: no ${mark}`, { reason: 'kernelNotLinux', mark })

/** Reads and checks the setup header. @throws VmmError `bad-kernel` saying what is wrong and where */
export function parseSetupHeader(image: Uint8Array): SetupHeader {
  if (image.length < 0x270) throw bad(`kernel is ${image.length} bytes long: too short for a Linux setup header (at least 624)`, { reason: 'kernelTooShort', size: image.length, least: 624 })
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  if (view.getUint16(Header.bootFlag, true) !== BOOT_FLAG) throw notLinux('boot flag 0xAA55 at offset 0x1FE')
  if (view.getUint32(Header.magic, true) !== MAGIC) throw notLinux('"HdrS" at offset 0x202')
  const version = view.getUint16(Header.version, true)
  if (version < 0x206) {
    const old = `${version >> 8}.${version & 0xff}`
    throw bad(`boot protocol ${old} is too old: 2.06 or later is needed`, { reason: 'kernelOld', version: old })
  }
  if ((image[Header.loadFlags] & LOADED_HIGH) === 0) throw bad('zImage kernels (loaded low) are not supported: a bzImage is needed', { reason: 'kernelLow' })
  const setupSects = image[Header.setupSects] || 4
  const codeOffset = (setupSects + 1) * 512
  if (codeOffset + ENTRY_64 >= image.length) {
    throw bad(`kernel is cut off: its code should start at ${codeOffset}, but the file has ${image.length} bytes`, { reason: 'kernelNoCode', start: codeOffset, size: image.length })
  }
  const syssize = view.getUint32(0x1f4, true) * 16
  const wanted = codeOffset + syssize
  if (wanted > image.length + 16) {
    throw bad(`kernel is cut off: the header promises ${wanted} bytes, the file has ${image.length}`, { reason: 'kernelCutOff', wanted, size: image.length })
  }
  return {
    version, codeOffset, headerEnd: 0x202 + image[0x201], is64Bit: version >= 0x20c && (view.getUint16(Header.xloadflags, true) & XLF_KERNEL_64) !== 0,
    initrdAddrMax: view.getUint32(Header.initrdAddrMax, true) || 0x37ff_ffff,
    cmdlineSize: view.getUint32(Header.cmdlineSize, true) || 255,
    initSize: version >= 0x20a ? view.getUint32(Header.initSize, true) : 0,
    runAddress: version >= 0x20a ? runAddress(view) : Layout.kernel,
  }
}

/** boot.rst, init_size: a relocatable kernel below its preferred address moves up to it, any other runs there anyway. */
function runAddress(view: DataView): number {
  const preferred = Number(view.getBigUint64(Header.prefAddress, true))
  return Math.max(Layout.kernel, preferred)
}

/** UTF-8: the core has no TextEncoder. */
function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = []
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0
    if (code < 0x80) bytes.push(code)
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63))
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63))
  }
  return Uint8Array.from(bytes)
}

function checkCommandLine(commandLine: string, header: SetupHeader): Uint8Array {
  const bytes = encodeUtf8(`${commandLine}\0`)
  if (commandLine.includes('\0')) throw bad('the command line contains a NUL character', { reason: 'commandLineNul' })
  const limit = Math.min(header.cmdlineSize, MAX_COMMAND_LINE)
  if (bytes.length - 1 > limit) throw bad(`the command line has ${bytes.length - 1} bytes; this kernel takes ${limit}`, { reason: 'commandLineLong', size: bytes.length - 1, limit })
  return bytes
}

function placeInitrd(memory: GuestMemory, initrd: Uint8Array, header: SetupHeader, ramBytes: number, kernelEnd: number): number {
  const top = Math.min(ramBytes, header.initrdAddrMax + 1)
  const at = Math.floor((top - initrd.length) / PAGE) * PAGE
  if (at < kernelEnd) {
    const needed = Math.ceil((kernelEnd + initrd.length) / (1 << 20))
    throw new VmmError('no-memory', `initrd of ${initrd.length} bytes does not fit behind the kernel: give the machine at least ${needed} MiB`,
      { reason: 'initrdTooLarge', size: initrd.length, needed })
  }
  memory.write(at, initrd)
  return at
}

function writeZeroPage(memory: GuestMemory, image: Uint8Array, header: SetupHeader, ramBytes: number, initrd: { at: number; size: number }): void {
  const page = new Uint8Array(PAGE)
  const end = Math.min(header.headerEnd, 0x290)
  page.set(image.subarray(Header.setupSects, end), Header.setupSects)
  const view = new DataView(page.buffer)
  page[Header.typeOfLoader] = LOADER_UNDEFINED
  page[Header.loadFlags] |= CAN_USE_HEAP
  view.setUint16(Header.heapEnd, 0xfe00, true)
  view.setUint32(Header.cmdLinePtr, Layout.commandLine, true)
  view.setUint32(Header.ramdiskImage, initrd.at, true)
  view.setUint32(Header.ramdiskSize, initrd.size, true)
  view.setBigUint64(ZeroPage.acpiRsdp, BigInt(Layout.acpiTables), true)
  const map = buildE820(ramBytes)
  page[ZeroPage.e820Count] = map.length
  map.forEach((entry, i) => {
    const at = ZeroPage.e820Table + i * 20
    view.setBigUint64(at, BigInt(entry.base), true)
    view.setBigUint64(at + 8, BigInt(entry.length), true)
    view.setUint32(at + 16, entry.type, true)
  })
  memory.write(Layout.bootParams, page)
}

/** GDT with the selectors the protocol names: 0x10 code (64- or 32-bit), 0x18 data; TSS slot 0x20 left empty. */
function writeGdt(memory: GuestMemory, long: boolean): void {
  const code = long ? [0x0000_ffff, 0x00af_9b00] : [0x0000_ffff, 0x00cf_9b00]
  const words = [0, 0, 0, 0, ...code, 0x0000_ffff, 0x00cf_9300]
  words.forEach((word, i) => memory.writeU32(Layout.bootGdt + 4 * i, word))
}

/** Four page directories of 2 MiB pages: 4 GiB one to one. */
function writeIdentityTables(memory: GuestMemory): void {
  const pml4 = Layout.bootPageTables
  const pdpt = pml4 + PAGE
  memory.writeU32(pml4, pdpt | 3)
  for (let i = 0; i < 4; i++) {
    const directory = pdpt + PAGE * (i + 1)
    memory.writeU32(pdpt + 8 * i, directory | 3)
    for (let j = 0; j < 512; j++) {
      memory.writeU32(directory + 8 * j, ((i * 512 + j) * 0x20_0000 | 0x83) >>> 0)
      memory.writeU32(directory + 8 * j + 4, 0)
    }
  }
}

/**
 * Loads everything. @param ramBytes size of guest RAM
 * @throws VmmError `bad-kernel`, or `no-memory` where kernel or initrd do not fit
 */
export function loadLinux(memory: GuestMemory, ramBytes: number, { image, initrd, commandLine }: LinuxImages): BootState {
  const header = parseSetupHeader(image)
  const code = image.subarray(header.codeOffset)
  const kernelEnd = Math.max(Layout.kernel + code.length, header.runAddress + header.initSize)
  if (kernelEnd > ramBytes) {
    const [needed, has] = [Math.ceil(kernelEnd / (1 << 20)), ramBytes >> 20]
    throw new VmmError('no-memory', `the kernel needs ${needed} MiB of memory, the machine has ${has}`, { reason: 'kernelNeedsMemory', needed, has })
  }
  const commandLineBytes = checkCommandLine(commandLine, header)
  memory.write(Layout.kernel, code)
  memory.write(Layout.commandLine, commandLineBytes)
  const at = initrd ? placeInitrd(memory, initrd, header, ramBytes, kernelEnd) : 0
  writeZeroPage(memory, image, header, ramBytes, { at, size: initrd?.length ?? 0 })
  writeGdt(memory, header.is64Bit)
  if (header.is64Bit) writeIdentityTables(memory)
  return {
    mode: header.is64Bit ? 'long' : 'protected',
    rip: header.is64Bit ? Layout.kernel + ENTRY_64 : Layout.kernel,
    rsi: Layout.bootParams, rsp: Layout.bootStack, cr3: Layout.bootPageTables,
    gdtBase: Layout.bootGdt, gdtLimit: 31,
  }
}

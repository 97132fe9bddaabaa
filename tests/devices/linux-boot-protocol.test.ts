import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { VmmError } from '../../src/main/vmm/errors'
import { Layout } from '../../src/main/vmm/firmware/layout'
import { TestMemory } from '../../src/main/vmm/virtio/queue/test-memory'
import { loadLinux, parseSetupHeader } from '../../src/main/vmm/boot/linux'
import { buildTestKernel } from '../../src/main/vmm/boot/test-kernel'

const RAM = 16 << 20
const MIB = 1 << 20

function refusal(run: () => unknown): VmmError {
  try {
    run()
  } catch (error) {
    if (error instanceof VmmError) return error
    throw error
  }
  throw new Error('was accepted')
}

describe('setup header', () => {
  it.each([
    ['an empty file', new Uint8Array(0), /0 bytes long/],
    ['a text file', new Uint8Array(4096).fill(0x41), /no boot flag 0xAA55 at offset 0x1FE/],
    ['no magic', ((): Uint8Array => { const k = buildTestKernel(); k[0x202] = 0; return k })(), /"HdrS" at offset 0x202/],
    ['an old protocol', buildTestKernel({ version: 0x205 }), /2\.5 is too old/],
    ['a zImage', ((): Uint8Array => { const k = buildTestKernel(); k[0x211] = 0; return k })(), /bzImage is needed/],
    ['a file cut in its code', buildTestKernel().subarray(0, 0x2000), /cut off: the header promises/],
    ['a file cut in its setup', buildTestKernel().subarray(0, 1536), /cut off: its code should start at 1536/],
  ])('refuses %s and says why', (_name, image, message) => {
    const error = refusal(() => parseSetupHeader(image))
    expect(error.code).toBe('bad-kernel')
    expect(error.message).toMatch(message)
  })
})

describe('loading', () => {
  it('enters a 64-bit kernel in long mode with 4 GiB mapped one to one', () => {
    const memory = new TestMemory(RAM)
    const boot = loadLinux(memory, RAM, { image: buildTestKernel(), commandLine: 'console=ttyS0' })
    expect(boot).toMatchObject({ mode: 'long', rip: 0x10_0200, rsi: Layout.bootParams, cr3: Layout.bootPageTables, gdtBase: Layout.bootGdt, gdtLimit: 31 })
    for (const address of [0, 0x10_0200, 0x7fff_f123, 0xffff_ffff]) expect(translate(memory, boot.cr3, address)).toBe(address)
    expect(memory.readU32(boot.gdtBase + 0x14) & 0x0020_0000, 'L bit of selector 0x10').not.toBe(0)
    expect(memory.readU8(0x10_0000)).toBe(0xcc)
  })

  it('enters a 32-bit kernel in protected mode at 1 MiB', () => {
    const memory = new TestMemory(RAM)
    const boot = loadLinux(memory, RAM, { image: buildTestKernel({ xloadflags: 0 }), commandLine: '' })
    expect(boot).toMatchObject({ mode: 'protected', rip: 0x10_0000 })
    expect(memory.readU32(boot.gdtBase + 0x14)).toBe(0x00cf_9b00)
    expect(memory.readU32(boot.gdtBase + 0x1c)).toBe(0x00cf_9300)
  })

  it('fills the zero page: command line, initrd, memory map, RSDP', () => {
    const memory = new TestMemory(RAM)
    const initrd = new Uint8Array(5000).fill(7)
    const boot = loadLinux(memory, RAM, { image: buildTestKernel({ initrdAddrMax: 0xff_ffff }), initrd, commandLine: 'a=ü' })
    const field = (offset: number): number => memory.readU32(boot.rsi + offset)
    const at = field(0x218)
    expect(at % 4096).toBe(0)
    expect(at + 5000).toBeLessThanOrEqual(RAM)
    expect([field(0x21c), memory.readU8(at), memory.readU8(at + 4999)]).toEqual([5000, 7, 7])
    expect([...memory.bytes.subarray(field(0x228), field(0x228) + 5)]).toEqual([0x61, 0x3d, 0xc3, 0xbc, 0])
    expect(field(0x70)).toBe(Layout.acpiTables)
    expect(field(0x202)).toBe(0x53726448)
    expect(memory.readU8(boot.rsi + 0x210)).toBe(0xff)
    const map = Array.from({ length: memory.readU8(boot.rsi + 0x1e8) }, (_, i) => {
      const entry = boot.rsi + 0x2d0 + 20 * i
      return { base: memory.readU32(entry), end: memory.readU32(entry) + memory.readU32(entry + 8), type: memory.readU32(entry + 16) }
    })
    expect(map.filter((e) => e.type === 1)).toEqual([{ base: 0, end: 0xa0000, type: 1 }, { base: MIB, end: RAM, type: 1 }])
    map.slice(1).forEach((entry, i) => expect(entry.base).toBeGreaterThanOrEqual(map[i].end))
  })

  it('keeps the initrd below initrd_addr_max and behind where the kernel unpacks itself', () => {
    const initrd = new Uint8Array(MIB)
    const memory = new TestMemory(RAM)
    const low = loadLinux(memory, RAM, { image: buildTestKernel({ initrdAddrMax: 8 * MIB - 1 }), initrd, commandLine: '' })
    expect(memory.readU32(low.rsi + 0x218)).toBe(7 * MIB)
    const image = buildTestKernel({ prefAddress: BigInt(14 * MIB), initSize: 1.5 * MIB })
    const error = refusal(() => loadLinux(new TestMemory(RAM), RAM, { image, initrd, commandLine: '' }))
    expect([error.code, error.message]).toEqual(['no-memory', expect.stringMatching(/initrd of 1048576 bytes.*at least 17 MiB/)])
  })

  it('refuses a kernel larger than memory and command lines it cannot hand over', () => {
    const load = (image: Uint8Array, commandLine: string): VmmError => refusal(() => loadLinux(new TestMemory(RAM), RAM, { image, commandLine }))
    expect(load(buildTestKernel({ initSize: 0x7fff_ffff }), '').code).toBe('no-memory')
    expect(load(buildTestKernel({ cmdlineSize: 10 }), 'x'.repeat(11)).message).toMatch(/11 bytes; this kernel takes 10/)
    expect(load(buildTestKernel({ cmdlineSize: 0xffff_ffff }), 'x'.repeat(0x10001)).code).toBe('bad-kernel')
    expect(load(buildTestKernel(), 'a\0b').message).toMatch(/NUL/)
  })
})

/** Page walk of 4-level tables with 2 MiB pages. */
function translate(memory: TestMemory, cr3: number, address: number): number {
  const pdpt = memory.readU32(cr3) & ~0xfff
  const directory = memory.readU32(pdpt + 8 * Math.floor(address / 2 ** 30)) & ~0xfff
  const entry = memory.readU32(directory + 8 * (Math.floor(address / 2 ** 21) % 512))
  expect(entry & 0x81).toBe(0x81)
  return ((entry & 0xffe0_0000) >>> 0) + (address % 2 ** 21)
}

/** Real kernels, where the set-up has fetched them (`NESTBOX_TEST_KERNELS` names another folder). */
const folder = process.env.NESTBOX_TEST_KERNELS ?? join(process.cwd(), '.cache/guests')
const kernels = existsSync(folder)
  ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((f) => /(^|\/)vmlinuz[^/]*$/.test(f)) : []
describe.runIf(kernels.length > 0)('real kernels', () => {
  it.each(kernels)('%s', (file) => {
    const image = new Uint8Array(readFileSync(join(folder, file)))
    const header = parseSetupHeader(image)
    expect(header.version).toBeGreaterThanOrEqual(0x20f)
    expect(header.cmdlineSize).toBeGreaterThanOrEqual(2047)
    const memory = new TestMemory(256 << 20)
    const boot = loadLinux(memory, 256 << 20, { image, initrd: new Uint8Array(MIB), commandLine: 'console=ttyS0' })
    expect(boot.mode).toBe(header.is64Bit ? 'long' : 'protected')
    expect(memory.readU32(boot.rsi + 0x218)).toBeGreaterThan(header.runAddress + header.initSize)
  })
})

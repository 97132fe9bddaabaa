import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TestMemory } from '../../src/main/vmm/virtio/queue/test-memory'
import { Layout } from '../../src/main/vmm/firmware/layout'
import { integer, path, pkg, string } from '../../src/main/vmm/firmware/acpi/aml'
import { writeAcpiTables } from '../../src/main/vmm/firmware/acpi/tables'

const sum = (bytes: Uint8Array): number => bytes.reduce((a, b) => (a + b) & 0xff, 0)
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes)

function collect(options: { cpuCount: number; hpetCapabilities?: number }): { memory: TestMemory; tables: Map<string, Uint8Array> } {
  const memory = new TestMemory(1 << 20)
  writeAcpiTables(memory, options)
  const tableAt = (at: number): Uint8Array => memory.bytes.slice(at, at + memory.readU32(at + 4))
  const xsdt = tableAt(memory.readU32(Layout.acpiTables + 24))
  const view = new DataView(xsdt.buffer)
  const tables = new Map([['XSDT', xsdt]])
  for (let at = 36; at < xsdt.length; at += 8) {
    const table = tableAt(view.getUint32(at, true))
    tables.set(text(table.subarray(0, 4)), table)
  }
  const fadt = tables.get('FACP') ?? new Uint8Array(0)
  tables.set('DSDT', tableAt(new DataView(fadt.buffer).getUint32(40, true)))
  return { memory, tables }
}

describe('ACPI tables', () => {
  it('have right checksums and are all reachable from the RSDP', () => {
    const { memory, tables } = collect({ cpuCount: 2, hpetCapabilities: 0x8086_a201 })
    const rsdp = memory.bytes.slice(Layout.acpiTables, Layout.acpiTables + 36)
    expect(text(rsdp.subarray(0, 8))).toBe('RSD PTR ')
    expect(sum(rsdp.subarray(0, 20))).toBe(0)
    expect(sum(rsdp)).toBe(0)
    expect([...tables.keys()].sort()).toEqual(['APIC', 'DSDT', 'FACP', 'HPET', 'MCFG', 'XSDT'])
    for (const [name, table] of tables) expect(sum(table), name).toBe(0)
  })

  it('leave HPET out of a machine without one', () => {
    expect(collect({ cpuCount: 1 }).tables.has('HPET')).toBe(false)
  })

  it('FADT names the fixed hardware: SCI, PM blocks, reset register', () => {
    const fadt = collect({ cpuCount: 1 }).tables.get('FACP')
    const view = new DataView(fadt?.buffer as ArrayBuffer)
    expect(fadt?.length).toBe(276)
    expect(view.getUint16(46, true)).toBe(9)
    expect(view.getUint32(56, true)).toBe(0x600)
    expect(view.getUint32(64, true)).toBe(0x604)
    expect(view.getUint32(76, true)).toBe(0x608)
    const flags = view.getUint32(112, true)
    expect(flags & (1 << 10), 'RESET_REG_SUP').not.toBe(0)
    expect(flags & (1 << 4), 'power button is fixed hardware').toBe(0)
    expect(flags & (1 << 20), 'not hardware reduced').toBe(0)
    expect([view.getUint8(116), view.getUint32(120, true), view.getUint8(128)]).toEqual([1, 0xcf9, 6])
  })

  it('MADT has a local APIC per CPU, the I/O APIC and both overrides', () => {
    const madt = collect({ cpuCount: 3 }).tables.get('APIC') ?? new Uint8Array(0)
    const entries: number[][] = []
    for (let at = 44; at < madt.length; at += madt[at + 1]) entries.push([...madt.subarray(at, at + madt[at + 1])])
    expect(entries.filter(([type]) => type === 0)).toHaveLength(3)
    expect(entries.filter(([type]) => type === 1)).toEqual([[1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]])
    expect(entries.filter(([type]) => type === 2)).toEqual([[2, 10, 0, 0, 2, 0, 0, 0, 0, 0], [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0]])
  })

  const iasl = spawnSync('iasl', ['-v'])
  it.runIf(iasl.status === 0)('iasl disassembles every table and compiles the source again without errors', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nestbox-acpi-'))
    try {
      for (const [name, table] of collect({ cpuCount: 1, hpetCapabilities: 0x8086_a201 }).tables) {
        const file = join(folder, name.toLowerCase())
        writeFileSync(`${file}.dat`, table)
        execFileSync('iasl', ['-d', `${file}.dat`], { stdio: 'pipe' })
        const source = readFileSync(`${file}.dsl`, 'utf8')
        expect(source, name).not.toMatch(/\*\*\*\* (Warning|Error)|Incorrect checksum|Invalid/i)
        const compiled = spawnSync('iasl', [`${file}.dsl`], { encoding: 'utf8' })
        expect(compiled.stdout + compiled.stderr, name).not.toMatch(/Error {2,}\d|[1-9]\d* Errors/)
        expect(compiled.status, name).toBe(0)
        if (name === 'DSDT') for (const part of ['PNP0A08', 'PNP0501', 'PNP0B00', 'PNP0303', '_S5', '_PRT', '_CRS']) expect(source).toContain(part)
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('AML emitter', () => {
  it('encodes names, integers and strings', () => {
    expect(path('\\_S5')).toEqual([0x5c, 0x5f, 0x53, 0x35, 0x5f])
    expect(path('\\_SB.PCI0').slice(0, 2)).toEqual([0x5c, 0x2e])
    expect(integer(0x1234)).toEqual([0x0b, 0x34, 0x12])
    expect(integer(0xfffeffff)).toEqual([0x0c, 0xff, 0xff, 0xfe, 0xff])
    expect(string('A')).toEqual([0x0d, 0x41, 0])
  })

  it('counts the length bytes themselves, in one, two and three bytes', () => {
    const lead = (n: number): number[] => pkg(...new Array<number[]>(n).fill([0])).slice(1, 4)
    expect(lead(10)[0]).toBe(12)
    expect(lead(100).slice(0, 2)).toEqual([0x40 | (103 & 15), 103 >> 4])
    const long = pkg(new Array<number>(5000).fill(0))
    expect(long.slice(1, 4)).toEqual([0x80 | (5004 & 15), (5004 >> 4) & 0xff, 5004 >> 12])
  })
})

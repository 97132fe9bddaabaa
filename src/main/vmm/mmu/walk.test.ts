import { beforeEach, describe, expect, it } from 'vitest'
import type { PhysicalMemory } from '../cpu/core/context'
import { CpuState } from '../cpu/state/access'
import { STATE_SIZE } from '../cpu/state/layout'
import { Access, PageWalker } from './walk'

class FlatPhysical implements PhysicalMemory {
  readonly words = new Uint32Array(0x40000 / 4)
  writes = 0
  readU32(gpa: number): number { return gpa < 0x40000 ? this.words[gpa / 4] : 0xffff_ffff }
  writeU32(gpa: number, value: number): void { this.writes++; this.words[gpa / 4] = value }
  put64(at: number, lo: number, hi = 0): void { this.words[at / 4] = lo; this.words[at / 4 + 1] = hi }
}

const P = 1, RW = 2, US = 4, A = 0x20, D = 0x40, PS = 0x80, G = 0x100, NX = 0x8000_0000
const { WRITE, USER, FETCH, SMAP_OVERRIDE, NO_UPDATE } = Access

let memory: FlatPhysical
let state: CpuState
let walker: PageWalker

beforeEach(() => {
  memory = new FlatPhysical()
  state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  walker = new PageWalker(memory, state, 40)
})

function fault(lo: number, hi: number, access: number): number {
  expect(walker.walk(lo, hi, access)).toBe(false)
  return walker.errorCode
}

it('maps one to one without paging', () => {
  expect(walker.walk(0xfedc_ba98, 0, WRITE | USER)).toBe(true)
  expect(walker).toMatchObject({ gpaPage: 0xfedc_b000, writable: true, userPage: true, executable: true, global: false })
})

describe('32-bit paging', () => {
  beforeEach(() => {
    state.set64('cr0', 0x8001_0001n)
    state.set64('cr3', 0x1000n)
    state.set64('cr4', 0x90n)
  })

  it('walks two levels, sets accessed and dirty bits only for what was done', () => {
    memory.words[(0x1000 + 4) / 4] = 0x2000 | P | RW | US
    memory.words[(0x2000 + 12) / 4] = 0x0abc_d000 | P | RW | US | G
    expect(walker.walk(0x0040_3123, 0, USER)).toBe(true)
    expect(walker).toMatchObject({ gpaPage: 0x0abc_d000, pageShift: 12, writable: false, dirty: false, userPage: true, global: true })
    expect(memory.words[(0x1000 + 4) / 4] & (A | D)).toBe(A)
    expect(memory.words[(0x2000 + 12) / 4] & (A | D)).toBe(A)
    expect(walker.walk(0x0040_3123, 0, USER | WRITE)).toBe(true)
    expect(walker).toMatchObject({ writable: true, dirty: true })
    expect(memory.words[(0x1000 + 4) / 4] & (A | D)).toBe(A)
    expect(memory.words[(0x2000 + 12) / 4] & (A | D)).toBe(A | D)
    const before = memory.writes
    walker.walk(0x0040_3123, 0, USER | WRITE)
    expect(memory.writes).toBe(before)
  })

  it('leaves the tables alone when asked to', () => {
    memory.words[(0x1000 + 4) / 4] = 0x2000 | P | RW
    memory.words[(0x2000 + 12) / 4] = 0x5000 | P | RW
    expect(walker.walk(0x0040_3000, 0, WRITE | NO_UPDATE)).toBe(true)
    expect(memory.writes).toBe(0)
  })

  it('maps 4 MiB pages, with PSE-36 address bits', () => {
    memory.words[0x1000 / 4] = (0x1280_0000 | (3 << 13) | P | RW | PS) >>> 0
    expect(walker.walk(0x0030_5678, 0, WRITE)).toBe(true)
    expect(walker).toMatchObject({ gpaPage: 3 * 2 ** 32 + 0x12b0_5000, pageShift: 22, userPage: false })
  })

  it('tells reserved bits of 4 MiB pages', () => {
    memory.words[0x1000 / 4] = 0x0020_0000 | P | RW | PS
    expect(fault(0, 0, 0)).toBe(9)
    walker = new PageWalker(memory, state, 34)
    memory.words[0x1000 / 4] = (4 << 13) | P | RW | PS
    expect(fault(0, 0, WRITE)).toBe(11)
  })

  it('gives every error code of rights', () => {
    memory.words[0x1000 / 4] = 0x2000 | P | RW | US
    memory.words[0x2000 / 4] = 0x5000 | P
    memory.words[0x2004 / 4] = 0x5000 | P | US
    memory.words[0x2008 / 4] = 0x5000 | RW
    expect(fault(0x2000, 0, 0)).toBe(0)
    expect(fault(0x2000, 0, WRITE)).toBe(2)
    expect(fault(0x2000, 0, USER)).toBe(4)
    expect(fault(0x2000, 0, USER | WRITE)).toBe(6)
    expect(fault(0x0000, 0, USER)).toBe(5)
    expect(fault(0x0000, 0, USER | WRITE)).toBe(7)
    expect(fault(0x1000, 0, USER | WRITE)).toBe(7)
    expect(fault(0x0000, 0, WRITE)).toBe(3)
    // Neither NX nor SMEP: fetches are not told apart.
    expect(fault(0x0000, 0, USER | FETCH)).toBe(5)
    expect(memory.words[0x2000 / 4] & (A | D)).toBe(0)
    state.set64('cr0', 0x8000_0001n)
    expect(walker.walk(0x0000, 0, WRITE)).toBe(true)
    expect(walker.walk(0x1000, 0, WRITE)).toBe(true)
  })
})

describe('PAE paging', () => {
  beforeEach(() => {
    state.set64('cr0', 0x8001_0001n)
    state.set64('cr3', 0x1020n)
    state.set64('cr4', 0xa0n)
    memory.put64(0x1020 + 24, 0x2000 | P)
    memory.put64(0x2000 + 8 * 5, 0x3000 | P | RW | US)
    memory.put64(0x3000 + 8 * 7, 0x4000 | P | RW | US, 0x12)
  })
  const la = 0xc000_0000 + 5 * 0x20_0000 + 7 * 0x1000 + 0x80

  it('walks through the PDPTE registers, which follow memory only when loaded', () => {
    expect(walker.loadPdptes()).toBe(true)
    memory.put64(0x1020 + 24, 0)
    expect(walker.walk(la, 0, WRITE | USER)).toBe(true)
    expect(walker.gpaPage).toBe(0x12 * 2 ** 32 + 0x4000)
    expect(walker.loadPdptes()).toBe(true)
    expect(fault(la, 0, WRITE)).toBe(2)
  })

  it('refuses reserved bits of PDPTEs', () => {
    memory.put64(0x1020 + 24, 0x2000 | P | RW)
    expect(walker.loadPdptes()).toBe(false)
    memory.put64(0x1020 + 24, 0x2000 | P, 0x100)
    expect(walker.loadPdptes()).toBe(false)
    memory.put64(0x1020 + 24, 0x2006)
    expect(walker.loadPdptes()).toBe(true)
  })

  it('maps 2 MiB pages and checks reserved bits', () => {
    memory.put64(0x2000 + 8 * 5, 0x0040_0000 | P | RW | PS)
    expect(walker.walk(la, 0, 0)).toBe(true)
    expect(walker).toMatchObject({ gpaPage: 0x0040_7000, pageShift: 21 })
    memory.put64(0x2000 + 8 * 5, 0x0040_2000 | P | RW | PS)
    expect(fault(la, 0, 0)).toBe(9)
    memory.put64(0x2000 + 8 * 5, 0x0040_0000 | P | PS, 0x10_0000)
    expect(fault(la, 0, 0)).toBe(9)
  })
})

describe('4-level paging', () => {
  // PML4 index 0x1ff, PDPT 0x1fe, PD 3, PT 4.
  const hi = 0xffff_ffff
  const la = (0x8000_0000 + 3 * 0x20_0000 + 4 * 0x1000 + 0x123) >>> 0
  beforeEach(() => {
    state.set64('cr0', 0x8001_0001n)
    state.set64('cr3', 0x1000n)
    state.set64('cr4', 0xa0n)
    state.set64('efer', 0xd00n)
    memory.put64(0x1000 + 8 * 0x1ff, 0x2000 | P | RW | US)
    memory.put64(0x2000 + 8 * 0x1fe, 0x3000 | P | RW | US)
    memory.put64(0x3000 + 8 * 3, 0x4000 | P | RW | US)
    memory.put64(0x4000 + 8 * 4, 0xabcd_e000 | P | RW | US, 0x25)
  })

  it('walks four levels and marks them accessed', () => {
    expect(walker.walk(la, hi, WRITE | USER)).toBe(true)
    expect(walker).toMatchObject({ gpaPage: 0x25 * 2 ** 32 + 0xabcd_e000, pageShift: 12, executable: true, writable: true })
    for (const at of [0x1000 + 8 * 0x1ff, 0x2000 + 8 * 0x1fe, 0x3000 + 8 * 3]) expect(memory.words[at / 4] & (A | D)).toBe(A)
    expect(memory.words[(0x4000 + 32) / 4] & (A | D)).toBe(A | D)
  })

  it('maps 1 GiB and 2 MiB pages', () => {
    memory.put64(0x2000 + 8 * 0x1fe, 0xc000_0000 | P | RW | PS, 1)
    expect(walker.walk(la, hi, 0)).toBe(true)
    expect(walker).toMatchObject({ gpaPage: 2 ** 32 + 0xc000_0000 + 3 * 0x20_0000 + 0x4000, pageShift: 30 })
    memory.put64(0x2000 + 8 * 0x1fe, 0x0000_2000 | P | RW | PS, 1)
    expect(fault(la, hi, 0)).toBe(9)
  })

  it('combines rights over the levels', () => {
    memory.put64(0x2000 + 8 * 0x1fe, 0x3000 | P | RW)
    expect(fault(la, hi, USER)).toBe(5)
    memory.put64(0x2000 + 8 * 0x1fe, 0x3000 | P | US)
    expect(fault(la, hi, USER | WRITE)).toBe(7)
    expect(walker.walk(la, hi, USER)).toBe(true)
    expect(walker.writable).toBe(false)
  })

  it('honours NX anywhere on the path, and takes it for reserved without EFER.NXE', () => {
    memory.put64(0x3000 + 8 * 3, 0x4000 | P | RW | US, NX)
    expect(fault(la, hi, USER | FETCH)).toBe(0x15)
    expect(walker.walk(la, hi, USER)).toBe(true)
    expect(walker.executable).toBe(false)
    state.set64('efer', 0x500n)
    expect(fault(la, hi, USER)).toBe(0xd)
  })

  it('tells a missing page from a fetch', () => {
    memory.put64(0x4000 + 8 * 4, 0)
    expect(fault(la, hi, FETCH)).toBe(0x10)
    expect(fault(la, hi, USER | WRITE)).toBe(6)
  })

  it('SMEP and SMAP keep the supervisor off user pages', () => {
    state.set64('cr4', 0xa0n | (1n << 20n) | (1n << 21n))
    expect(fault(la, hi, FETCH)).toBe(0x11)
    expect(fault(la, hi, 0)).toBe(1)
    expect(fault(la, hi, WRITE)).toBe(3)
    expect(walker.walk(la, hi, WRITE | SMAP_OVERRIDE)).toBe(true)
    expect(walker.walk(la, hi, WRITE | USER)).toBe(true)
    memory.put64(0x1000 + 8 * 0x1ff, 0x2000 | P | RW)
    expect(walker.walk(la, hi, WRITE)).toBe(true)
    expect(walker.walk(la, hi, FETCH)).toBe(true)
  })

  it('tells reserved address bits and PS in the top level', () => {
    memory.put64(0x4000 + 8 * 4, 0x5000 | P | RW | US, 0x100)
    expect(fault(la, hi, 0)).toBe(9)
    memory.put64(0x4000 + 8 * 4, 0x5000 | P | RW | US, 0x7ff0_0000)
    expect(walker.walk(la, hi, 0)).toBe(true)
    memory.put64(0x1000 + 8 * 0x1ff, 0x2000 | P | RW | US | PS)
    expect(fault(la, hi, 0)).toBe(9)
  })
})

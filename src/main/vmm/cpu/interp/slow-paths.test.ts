/** Accesses that lie in two pages, without paging: RAM, what is no RAM, and pages that hold code. */
import { describe, expect, it } from 'vitest'
import { Frame, FrameTable, PAGE_SIZE } from '../../memory/frame-table'
import { PhysicalRam } from '../../memory/guest-memory'
import { SoftTlb } from '../../mmu/soft-tlb'
import { TLB_VIEWS } from '../../mmu/tlb-layout'
import { PageWalker } from '../../mmu/walk'
import { Slow } from '../core/exits'
import { CpuLinearMemory } from '../core/linear'
import { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import { createSlowPaths } from './slow-paths'

const PAGES = 4
const AT = { state: 0x1_0000, tlb: 0x5_0000, table: 0x24_0000, frames: 0x25_0000 } as const
const WASM_PAGES = Math.ceil((AT.frames + PAGES * PAGE_SIZE) / 65536)
const VALUE = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]
const SLOT = 2

function rig() {
  const { buffer } = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: 65536, shared: true })
  const bytes = new Uint8Array(buffer)
  const state = new CpuState(buffer, AT.state)
  const frames = new FrameTable(buffer, { tableBase: AT.table, framesBase: AT.frames, ramBytes: PAGES * PAGE_SIZE })
  const ram = new PhysicalRam(buffer, frames)
  const tlb = new SoftTlb(buffer, AT.tlb, new PageWalker(ram, state, 40), ram, state)
  for (let i = 0; i < TLB_VIEWS; i++) state.set('viewBases', tlb.viewBase(i), i)
  tlb.modeChanged()
  const device: string[] = []
  const dropped: string[] = []
  ram.setCodeWriteListener((page, offset, length) => dropped.push(`${page}:${offset}+${length}`))
  const mmio = {
    read: (address: number, size: number) => (address + size) & 0xff,
    write: (address: number, size: number, value: number) => void device.push(`${address.toString(16)}/${size}=${value.toString(16)}`),
  }
  const memory = new CpuLinearMemory(buffer, tlb, ram, mmio, state)
  const never = (): never => { throw new Error('not asked for') }
  const paths = createSlowPaths({
    state, memory, mmio, checkSegment: never, checkUnit: never, checkCrossing: never, onHot: never, onHotLoop: never, onError: (error) => { throw error },
    holdsCode: (page) => (frames.entry(page) & Frame.CODE) !== 0,
  })
  const scratch = AT.state + offsetOf('scratch') + 8 * SLOT
  return {
    frames, paths, device, dropped,
    at: (gpa: number, length: number): number[] => [...bytes.slice(AT.frames + gpa, AT.frames + gpa + length)],
    put: (gpa: number, values: readonly number[]): void => bytes.set(values, AT.frames + gpa),
    slot: (length: number): number[] => [...bytes.slice(scratch, scratch + length)],
    setSlot: (values: readonly number[]): void => bytes.set(values, scratch),
  }
}

describe('accesses in two pages', () => {
  it.each([[2, 1], [4, 1], [4, 3], [8, 1], [8, 5], [8, 7], [16, 9]])('%i bytes, %i of them in the first, are stored and loaded', (size, first) => {
    const { paths, at, put, slot, setSlot } = rig()
    const value = [...VALUE, ...VALUE.map((byte) => byte + 1)].slice(0, size)
    const lo = PAGE_SIZE - first
    setSlot(value)
    expect(paths.store(AT.state, lo, 0, size, SLOT)).toBe(Slow.OK)
    expect(at(lo - 1, size + 2)).toEqual([0, ...value, 0])
    put(lo, [...value].reverse())
    expect(paths.load(AT.state, lo, 0, size, SLOT)).toBe(Slow.OK)
    expect(slot(size)).toEqual([...value].reverse())
  })

  it('go to the device where the second is no RAM', () => {
    const { paths, at, device, setSlot, slot } = rig()
    const lo = PAGES * PAGE_SIZE - 4
    setSlot(VALUE)
    expect(paths.store(AT.state, lo, 0, 8, SLOT)).toBe(Slow.OK)
    expect(at(lo, 4)).toEqual(VALUE.slice(0, 4))
    expect(device).toEqual(['4000/4=88776655'])
    expect(paths.load(AT.state, lo, 0, 8, SLOT)).toBe(Slow.OK)
    expect(slot(5)).toEqual([...VALUE.slice(0, 4), 0x04])
  })

  it('drop code in either page, but are left to tier 0 by translated code', () => {
    const { frames, paths, at, dropped, setSlot } = rig()
    for (const page of [1, 2]) frames.setFlags(page, Frame.CODE)
    setSlot(VALUE)
    for (const lo of [PAGE_SIZE - 3, 2 * PAGE_SIZE - 3, 3 * PAGE_SIZE - 3]) expect(paths.tstore(AT.state, lo, 0, 8, SLOT)).toBe(Slow.AGAIN)
    expect([dropped, at(0, PAGES * PAGE_SIZE).every((byte) => byte === 0)]).toEqual([[], true])
    expect(paths.store(AT.state, 2 * PAGE_SIZE - 3, 0, 8, SLOT)).toBe(Slow.OK)
    expect(dropped).toEqual(['1:4093+3', '2:0+5'])
    expect(at(2 * PAGE_SIZE - 3, 8)).toEqual(VALUE)
  })
})

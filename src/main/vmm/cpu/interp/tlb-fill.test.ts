/** The TLB miss in wasm against the page walker and the software TLB in TypeScript, over random tables, rights and frames. */
import { describe, expect, it } from 'vitest'
import { Frame, FrameTable, PAGE_SIZE } from '../../memory/frame-table'
import { PhysicalRam } from '../../memory/guest-memory'
import { SoftTlb, Translation } from '../../mmu/soft-tlb'
import { TLB_AREA_BYTES, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_VIEWS, TlbView } from '../../mmu/tlb-layout'
import { PageWalker } from '../../mmu/walk'
import { Slow } from '../core/exits'
import { ModuleBuilder } from '../emit/wasm/module'
import { CpuState } from '../state/access'
import { STATE_SIZE, offsetOf } from '../state/layout'
import { TestRandom } from '../test-random'
import { FAULT_PENDING, FILL_PARAMS, buildAccess, buildTlbFill } from './tlb-fill'

const PAGES = 40
const TABLES = 12
const ROUNDS = 60
const STEPS = 100
const AT = { state: 0x1_0000, tlb: 0x5_0000, table: 0x24_0000, frames: 0x25_0000 } as const
const WASM_PAGES = Math.ceil((AT.frames + PAGES * PAGE_SIZE) / 65536)
const EFER = { LMA: 0x400n, NXE: 0x800n } as const
const TWO_LEVELS = 1
const FOUR_LEVELS = 2

/** Words of a page table that are set: entries 0, 1, 511 of eight bytes, 0, 1, 2, 1023 of four. */
const USED = [0, 1, 2, 3, 1022, 1023] as const

class Mmu {
  readonly memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: 65536, shared: true })
  readonly bytes = new Uint8Array(this.memory.buffer)
  private readonly words = new Uint32Array(this.memory.buffer)
  readonly state = new CpuState(this.memory.buffer, AT.state)
  readonly frames = new FrameTable(this.memory.buffer, { tableBase: AT.table, framesBase: AT.frames, ramBytes: PAGES * PAGE_SIZE })
  readonly ram = new PhysicalRam(this.memory.buffer, this.frames)
  readonly tlb = new SoftTlb(this.memory.buffer, AT.tlb, new PageWalker(this.ram, this.state, 40), this.ram, this.state)
  view = 0

  setView(view: number): void {
    const { state, tlb } = this
    this.view = view
    for (let i = 0; i < TLB_VIEWS; i++) state.set('viewBases', tlb.viewBase(i), i)
    state.set('tlbBase', tlb.viewBase(view))
    state.set('cpl', view === TlbView.USER ? 3 : 0)
    tlb.modeChanged()
  }

  /** What a fill may change: frame table, table entries in use, the TLB entry for an address. */
  contents(lo: number): string {
    const words = (at: number, count: number): number[] => Array.from({ length: count }, (_, i) => this.words[at / 4 + i])
    const tables = Array.from({ length: TABLES }, (_, i) => USED.flatMap((word) => words(this.frames.hostOffset(i + 1) + 4 * word, 1)))
    const entry = this.state.get('tlbBase') + ((lo >>> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE
    return [...words(AT.table, PAGES), ...tables.flat(), ...words(entry, TLB_ENTRY_SIZE / 4)].join()
  }

  /** Every entry and list. */
  entries(): Buffer {
    return Buffer.from(this.memory.buffer, AT.tlb, TLB_AREA_BYTES)
  }
}

interface Wasm {
  readonly fill: (cpu: number, lo: number, hi: number, write: number) => number
  readonly store: (cpu: number, lo: number, hi: number, access: number, slot: number) => number
  readonly load: (cpu: number, lo: number, hi: number, access: number, slot: number) => number
}
const FALLEN = 77

function assemble(memory: WebAssembly.Memory): Wasm {
  const m = new ModuleBuilder()
  const access = { params: new Array<'i32'>(5).fill('i32'), results: ['i32' as const] }
  m.importFunction('slow', 'any', access)
  const fill = m.defineFunction({ params: FILL_PARAMS, results: ['i32'] }, 'fill')
  m.setBody(fill, buildTlbFill())
  m.setBody(m.defineFunction(access, 'load'), buildAccess(true, false, fill, 0))
  m.setBody(m.defineFunction(access, 'store'), buildAccess(false, true, fill, 0))
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish(65536, 1) as BufferSource), { env: { memory, table }, slow: { any: () => FALLEN } })
  return exports as unknown as Wasm
}

/** A table entry: usually good. Its page is a table's, some page's, or none of RAM. */
function entry(r: TestRandom, wide: boolean, leaf: boolean): [number, number] {
  const page = r.chance(4) ? PAGES + r.below(1000) : leaf ? r.below(PAGES) : 1 + r.below(TABLES)
  const flags: readonly (readonly [number, number])[] = [[1, 94], [2, 80], [4, 60], [0x20, 85], [0x40, 60], [0x100, 30], [0x80, leaf ? 10 : 6], [0x1000, leaf ? 0 : 1]]
  const low = flags.reduce((sum, [bit, percent]) => (r.chance(percent) ? sum | bit : sum), page * PAGE_SIZE)
  const high = (r.chance(20) && wide ? 0x8000_0000 : 0) | (r.chance(2) ? 1 << r.below(31) : 0)
  return [low >>> 0, high >>> 0]
}

/** The same tables, registers and frames in both. */
function prepare(both: readonly Mmu[], r: TestRandom, kind: number): void {
  const wide = kind === FOUR_LEVELS
  const words = Array.from({ length: TABLES * 1024 }, () => 0)
  for (let table = 0; table < TABLES; table++) {
    for (const index of wide ? [0, 1, 511] : [0, 1, 2, 1023]) {
      // Any table may serve at any level; large pages come of that too.
      const [low, high] = entry(r, wide, r.chance(30))
      words[table * 1024 + index * (wide ? 2 : 1)] = low
      if (wide) words[table * 1024 + index * 2 + 1] = high
    }
  }
  const flags = Array.from({ length: PAGES }, () => (r.chance(95) ? Frame.PRESENT : 0) | (r.chance(70) ? Frame.DIRTY : Frame.ZERO) |
    (r.chance(10) ? Frame.CODE : 0) | (r.chance(5) ? Frame.SHARED : 0) | (r.chance(5) ? Frame.ROM : 0) | (r.chance(5) ? Frame.ABSENT : 0) |
    (r.chance(3) ? Frame.COVERED : 0))
  const cr4 = (wide ? 0x20n : 0n) | (r.chance(70) ? 0x10n : 0n) | (r.chance(80) ? 0x80n : 0n) | (r.chance(60) ? 1n << 21n : 0n)
  const cr0 = 0x8000_0001n | (r.chance(60) ? 1n << 16n : 0n)
  const nxe = r.chance(80)
  for (const mmu of both) {
    mmu.tlb.flush(false)
    for (let page = 0; page < PAGES; page++) mmu.frames.resetFlags(page, Frame.PRESENT)
    new Uint32Array(mmu.memory.buffer, mmu.frames.hostOffset(1), words.length).set(words)
    flags.forEach((value, page) => mmu.frames.resetFlags(page, value))
    mmu.state.set64('cr0', cr0)
    mmu.state.set64('cr3', BigInt(PAGE_SIZE))
    mmu.state.set64('cr4', cr4)
    mmu.state.set64('efer', wide ? EFER.LMA | (nxe ? EFER.NXE : 0n) : 0n)
  }
}

function address(r: TestRandom, wide: boolean): [number, number] {
  const pick = (): number => [0, 1, 511][r.below(3)]
  if (!wide) return [(([0, 1, 2, 1023][r.below(4)] << 22) | ([0, 1, 2, 1023][r.below(4)] << 12) | r.below(4096)) >>> 0, 0]
  const [four, three, two, one] = [pick(), pick(), pick(), pick()]
  const lo = ((three << 30) | (two << 21) | (one << 12) | r.below(4096)) >>> 0
  const hi = ((four << 7) | (three >> 2) | (four === 511 ? 0xffff_0000 : 0)) >>> 0
  return [lo, r.chance(2) ? hi ^ 0x10_0000 : hi]
}

/** A load of CR3, INVLPG or a flush, in both. */
function disturb(both: readonly Mmu[], r: TestRandom, [lo, hi]: [number, number]): void {
  const what = r.below(8)
  const pcid = r.below(3)
  const keep = r.chance(50)
  const frame = r.below(PAGES)
  for (const mmu of both) {
    if (what < 2) mmu.tlb.enterSpace(pcid, keep)
    else if (what < 5) mmu.tlb.invalidatePage(lo, hi, keep)
    else if (what === 5) mmu.tlb.flush(keep)
    else if (what === 6) mmu.tlb.dropWriteTags(mmu.frames.hostOffset(frame))
    mmu.setView(mmu.view)
  }
}

const canonical = (hi: number): boolean => [0, -1].includes((hi | 0) >> 15)

describe.each([['32-bit paging', TWO_LEVELS], ['4-level paging', FOUR_LEVELS]])('a TLB miss in wasm, %s', (_, kind) => {
  it('fills what TypeScript would, or leaves everything as it was', () => {
    const both = [new Mmu(), new Mmu()] as const
    const [reference, tested] = both
    const wasm = assemble(tested.memory)
    const wide = kind === FOUR_LEVELS
    let filled = 0
    let found = 0
    let faults = 0
    for (let round = 1; round <= ROUNDS; round++) {
      const r = new TestRandom(round)
      prepare(both, r, kind)
      for (let step = 0; step < STEPS; step++) {
        const view = r.below(3)
        const place = address(r, wide)
        both.forEach((mmu) => mmu.setView(view))
        if (r.chance(12)) disturb(both, r, place)
        const [lo, hi] = place
        const write = r.chance(50)
        if (wide && !canonical(hi)) {
          expect(wasm.fill(AT.state, lo, hi, 1)).toBe(0)
          continue
        }
        const hit = tested.tlb.probe(lo, hi, write, view)
        expect(hit).toBe(reference.tlb.probe(lo, hi, write, view))
        if (hit >= 0) {
          // After a probe for reading and writing the commit finds the entry.
          if (write) expect(wasm.fill(AT.state, lo, hi, 1) >>> 0).toBe(hit)
          continue
        }
        const before = tested.contents(lo)
        const host = wasm.fill(AT.state, lo, hi, write ? 1 : 0)
        const expected = reference.tlb.translate(lo, hi, write, view)
        if (expected >= 0) found++
        if (host === 0) {
          expect(tested.contents(lo)).toBe(before)
          expect(tested.tlb.translate(lo, hi, write, view)).toBe(expected)
        } else if (host === FAULT_PENDING) {
          expect([expected, tested.contents(lo)]).toEqual([Translation.FAULT, before])
          expect([tested.state.get('faultVector'), tested.state.get('faultError'), tested.state.get('faultHasError')]).toEqual([14, reference.tlb.errorCode, 1])
          expect(tested.state.get64('cr2')).toBe(reference.state.get64('cr2'))
          faults++
        } else {
          expect([round, step, host >>> 0]).toEqual([round, step, expected])
          filled++
        }
        expect(tested.contents(lo)).toBe(reference.contents(lo))
      }
      expect([round, tested.entries().equals(reference.entries())]).toEqual([round, true])
      expect(tested.tlb.misses).toBe(reference.tlb.misses)
    }
    expect(found).toBeGreaterThan(ROUNDS * STEPS / 20)
    expect(faults).toBeGreaterThan(ROUNDS * STEPS / 5)
    expect(filled / found).toBeGreaterThan(0.4)
  }, 60_000)
})

describe('slow paths over it', () => {
  const mmu = new Mmu()
  const wasm = assemble(mmu.memory)
  // One page at 0x5000, writable, at linear 0x3000.
  const words = (page: number): Uint32Array => new Uint32Array(mmu.memory.buffer, mmu.frames.hostOffset(page), 1024)
  words(1)[0] = 0x2000 | 0x67
  words(2)[3] = 0x5000 | 0x67
  for (const page of [1, 2, 5]) mmu.frames.markWritten(page)
  mmu.state.set64('cr0', 0x8001_0001n)
  mmu.state.set64('cr3', 0x1000n)
  mmu.setView(TlbView.USER)
  const host = mmu.frames.hostOffset(5)
  const scratch = AT.state + offsetOf('scratch')

  it.each([1, 2, 4, 8, 16])('load and store %i bytes', (bytes) => {
    const text = Array.from({ length: bytes }, (_, i) => 0x41 + i)
    mmu.bytes.fill(0, host, host + PAGE_SIZE)
    mmu.bytes.set(text, scratch + 8)
    mmu.tlb.flush(false)
    expect(wasm.store(AT.state, 0x3100, 0, bytes | 0x300, 1)).toBe(0)
    expect([...mmu.bytes.slice(host + 0xff, host + 0x100 + bytes + 1)]).toEqual([0, ...text, 0])
    mmu.bytes.fill(0, scratch, scratch + 64)
    expect(wasm.load(AT.state, 0x3100, 0, bytes, 2)).toBe(0)
    expect([...mmu.bytes.slice(scratch + 15, scratch + 16 + bytes + 1)]).toEqual([0, ...text, 0])
    if (bytes > 1) expect(wasm.load(AT.state, 0x4000 - bytes + 1, 0, bytes, 2)).toBe(FALLEN)
    expect(wasm.load(AT.state, 0x4000, 0, bytes, 2)).toBe(Slow.FAULT)
  })

  it('does nothing while accesses are looked at one by one', () => {
    mmu.tlb.withhold = () => true
    mmu.setView(TlbView.USER)
    mmu.tlb.flush(false)
    expect(wasm.load(AT.state, 0x3100, 0, 4, 0)).toBe(FALLEN)
    mmu.tlb.withhold = undefined
    mmu.setView(TlbView.USER)
    expect(wasm.load(AT.state, 0x3100, 0, 4, 0)).toBe(0)
    expect(mmu.tlb.probe(0x3100, 0, true, TlbView.USER)).toBe(host + 0x100)
    mmu.tlb.dropWriteTags(host)
    expect(mmu.tlb.probe(0x3100, 0, true, TlbView.USER)).toBe(-1)
    expect(new Set(mmu.tlb.cachedFrames())).toEqual(new Set([host]))
  })

  it('stays within the places of the layout', () => {
    expect(AT.state + STATE_SIZE).toBeLessThanOrEqual(AT.tlb)
    expect(AT.tlb + TLB_AREA_BYTES).toBeLessThanOrEqual(AT.table)
  })
})

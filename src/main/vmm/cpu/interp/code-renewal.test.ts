/** Lapsed entries of the code lookup: what wasm renews against the page walker, over random tables; and what becomes of renewed ones. */
import { describe, expect, it } from 'vitest'
import { Frame, FrameTable, PAGE_SIZE } from '../../memory/frame-table'
import { PhysicalRam } from '../../memory/guest-memory'
import { CODE_TLB_BYTES, CODE_TLB_SETS } from '../../mmu/tlb-layout'
import { Access, PageWalker } from '../../mmu/walk'
import { updateWalkKind } from '../../mmu/walk-kind'
import { CodeLookup } from '../core/code-lookup'
import { ModuleBuilder } from '../emit/wasm/module'
import { CpuState } from '../state/access'
import { FIELDS, STATE_SIZE } from '../state/layout'
import { Mode } from '../state/mode'
import { TestRandom } from '../test-random'
import { buildCodeRenewal } from './code-renewal'
import { CodePage } from './code-page'

const PAGES = 32
const TABLES = 6
const ROUNDS = 3000
const AT = { state: 0x1_0000, lookup: 0x10_0000, table: 0x24_0000, frames: 0x25_0000 } as const
const WASM_PAGES = Math.ceil((AT.frames + PAGES * PAGE_SIZE) / 65536)
const MAP = 0x1234_0000
const WALKED = { global: false, pageShift: 12 } as const

class Rig {
  readonly memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: WASM_PAGES, shared: true })
  readonly state = new CpuState(this.memory.buffer, AT.state)
  readonly frames = new FrameTable(this.memory.buffer, { tableBase: AT.table, framesBase: AT.frames, ramBytes: PAGES * PAGE_SIZE })
  readonly walker = new PageWalker(new PhysicalRam(this.memory.buffer, this.frames), this.state, 40)
  readonly lookup = new CodeLookup(this.memory.buffer, AT.lookup, this.state)
  readonly renew: (cpu: number, lo: number, hi: number) => number

  constructor(readonly long: boolean) {
    const m = new ModuleBuilder()
    m.setBody(m.defineFunction({ params: ['i32', 'i32', 'i32'], results: ['i32'] }, 'renew'), buildCodeRenewal())
    const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
    const instance = new WebAssembly.Instance(new WebAssembly.Module(m.finish(WASM_PAGES, 1) as BufferSource), { env: { memory: this.memory, table } })
    this.renew = instance.exports.renew as Rig['renew']
    const { state } = this
    state.set64('cr0', 0x8001_0001n)
    state.set64('cr3', BigInt(PAGE_SIZE))
    state.set64('cr4', long ? 0xb0n : 0x90n)
    state.set64('efer', long ? 0xc00n : 0n)
    state.set('frameTable', AT.table)
    state.set('framePages', PAGES)
    state.set('modeKey', Mode.PROTECTED | Mode.FLAT | Mode.USER | (long ? Mode.CODE64 | Mode.LONG : Mode.CODE32))
    state.set('cpl', 3)
    updateWalkKind(state, false)
    for (let page = 0; page < PAGES; page++) this.frames.resetFlags(page, Frame.PRESENT | Frame.DIRTY)
    this.space(0)
  }

  /** A load of CR3. */
  space(pcid: number, keep = false): void {
    this.lookup.enterSpace(pcid, keep)
    this.state.set('codeTlbBase', this.lookup.select(this.state.get('modeKey'), -1))
  }

  tables(): Uint32Array {
    return new Uint32Array(this.memory.buffer, this.frames.hostOffset(1), TABLES * 1024)
  }

  copyOfTables(): Buffer {
    const { buffer, byteOffset, byteLength } = this.tables()
    return Buffer.from(Buffer.from(buffer, byteOffset, byteLength))
  }

  /** Every level's entries 0, 1 and the last; usually those of a program's code. */
  fillTables(r: TestRandom): void {
    const words = this.tables().fill(0)
    for (let table = 0; table < TABLES; table++) {
      for (const index of this.long ? [0, 1, 511] : [0, 1, 1023]) {
        const last = this.long ? table >= 3 : table >= 1
        const page = last ? 8 + r.below(r.chance(90) ? 4 : 40) : table + 1 + (this.long ? 1 : 1 + r.below(2))
        const bits = [[1, 96], [4, 96], [0x20, 96], [0x100, last ? 4 : 0], [0x80, 2]].reduce((sum, [bit, percent]) => (r.chance(percent) ? sum | bit : sum), 0)
        words[table * 1024 + index * (this.long ? 2 : 1)] = page * PAGE_SIZE + bits
        if (this.long) words[table * 1024 + index * 2 + 1] = r.chance(2) ? 0x8000_0000 : r.chance(1) ? 1 : 0
      }
    }
  }

  address(r: TestRandom): [lo: number, hi: number] {
    const pick = (): number => [0, 1, this.long ? 511 : 1023][r.below(3)]
    if (!this.long) return [((pick() << 22) | (pick() << 12) | r.below(4096)) >>> 0, 0]
    return [((pick() << 30) | (pick() << 21) | (pick() << 12) | r.below(4096)) >>> 0, pick() === 1 ? 0x80 : 0]
  }
}

const pageOf = (lo: number): number => (lo & ~0xfff) >>> 0

describe.each([['32-bit paging', false], ['4-level paging', true]] as const)('%s', (_name, long) => {
  it('renews what a fetch would find again, and nothing else', () => {
    const rig = new Rig(long)
    const r = new TestRandom(long ? 2 : 1)
    let renewed = 0
    for (let round = 0; round < ROUNDS; round++) {
      rig.fillTables(r)
      const [lo, hi] = rig.address(r)
      const code = new CodePage(8 + r.below(4), rig.state.get('modeKey'), MAP + 1024 * round, 0)
      rig.lookup.enter(lo, hi, code, WALKED)
      rig.space(0)
      expect(rig.lookup.find(lo, hi)).toBeUndefined()
      const before = rig.copyOfTables()
      const result = rig.renew(AT.state, lo, hi)
      expect(rig.copyOfTables().equals(before)).toBe(true)
      const walks = rig.walker.walk(lo, hi, Access.FETCH | Access.USER)
      const same = walks && rig.walker.gpaPage === code.page * PAGE_SIZE && rig.walker.pageShift === 12 && !rig.walker.global
      const wanted = same && pageOf(lo) + hi !== 0 && rig.copyOfTables().equals(before)
      expect([round, result]).toEqual([round, wanted ? 1 : 0])
      expect(rig.lookup.find(lo, hi)).toBe(wanted ? code : undefined)
      if (wanted) renewed++
      rig.lookup.flush(false)
      rig.lookup.enterSpace(0, false)
      expect(rig.renew(AT.state, lo, hi)).toBe(0)
    }
    expect(renewed).toBeGreaterThan(ROUNDS / 20)
    expect(renewed).toBeLessThan(ROUNDS / 2)
  })

  describe('a renewed entry', () => {
    const ready = (): { rig: Rig; lo: number; enter: (lo: number) => CodePage; codes: CodePage } => {
      const rig = new Rig(long)
      const words = rig.tables().fill(0)
      for (let table = 0; table < 4; table++) {
        for (let index = 0; index < 512; index++) words[table * 1024 + index * (long ? 2 : 1)] = (table === (long ? 3 : 1) ? 9 : table + 2) * PAGE_SIZE + 0x27
      }
      const enter = (at: number): CodePage => {
        const code = new CodePage(9, rig.state.get('modeKey'), MAP, 0)
        rig.lookup.enter(at, 0, code, WALKED)
        return code
      }
      return { rig, lo: 0x3000, enter, codes: enter(0x3000) }
    }

    it('lapses again with the next load of CR3, and is renewed again', () => {
      const { rig, lo, codes } = ready()
      for (let turn = 0; turn < 100; turn++) {
        rig.space(0)
        expect(rig.lookup.find(lo, 0)).toBeUndefined()
        expect(rig.renew(AT.state, lo, 0)).toBe(1)
        expect(rig.renew(AT.state, lo, 0)).toBe(0)
        expect(rig.lookup.find(lo, 0)).toBe(codes)
      }
    })

    it('goes with INVLPG, and with a flush', () => {
      const { rig, lo, enter } = ready()
      rig.space(0)
      expect(rig.renew(AT.state, lo, 0)).toBe(1)
      rig.lookup.invalidatePage(lo, 0)
      expect(rig.lookup.find(lo, 0)).toBeUndefined()
      enter(lo)
      rig.space(0)
      expect(rig.renew(AT.state, lo, 0)).toBe(1)
      rig.lookup.flush(true)
      expect(rig.lookup.find(lo, 0)).toBeUndefined()
    })

    it('is kept for its address space where the load of CR3 keeps it', () => {
      const { rig, lo, codes } = ready()
      rig.space(0)
      expect(rig.renew(AT.state, lo, 0)).toBe(1)
      rig.space(5)
      expect(rig.lookup.find(lo, 0)).toBeUndefined()
      expect(rig.renew(AT.state, lo, 0)).toBe(0)
      rig.space(0, true)
      expect(rig.lookup.find(lo, 0)).toBe(codes)
    })

    it('is one of a list that must have room', () => {
      const { rig, enter } = ready()
      const room = FIELDS.renewed.count
      for (let page = 1; page <= room + 1; page++) enter(page * PAGE_SIZE)
      rig.space(0)
      for (let page = 1; page <= room; page++) expect(rig.renew(AT.state, page * PAGE_SIZE, 0)).toBe(1)
      expect(rig.renew(AT.state, (room + 1) * PAGE_SIZE, 0)).toBe(0)
      expect(rig.lookup.find(PAGE_SIZE, 0)?.page).toBe(9)
      expect(rig.renew(AT.state, (room + 1) * PAGE_SIZE, 0)).toBe(1)
    })

    it('is the running program’s: the kernel has none, and no mode without paging', () => {
      const { rig, lo } = ready()
      rig.space(0)
      rig.state.set('cpl', 0)
      expect(rig.renew(AT.state, lo, 0)).toBe(0)
      rig.state.set('cpl', 3)
      updateWalkKind(rig.state, true)
      expect(rig.renew(AT.state, lo, 0)).toBe(0)
    })
  })
})

it('stays within the places of the layout', () => {
  expect(AT.state + STATE_SIZE).toBeLessThanOrEqual(AT.lookup)
  expect(AT.lookup + CODE_TLB_SETS * CODE_TLB_BYTES).toBeLessThanOrEqual(AT.table)
})

/** REP MOVS and REP STOS in bulk against one element at a time, over pages with and without TLB entries, and ranges that overlap. */
import { describe, expect, it } from 'vitest'
import { TLB_BYTES, TLB_EMPTY, TLB_ENTRIES, TLB_ENTRY_SIZE, TlbEntry } from '../../mmu/tlb-layout'
import type { CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import { buildHelperBody, helperType } from '../emit/wasm/helper-body'
import { ModuleBuilder } from '../emit/wasm/module'
import { CpuState } from '../state/access'
import { Gpr, STATE_SIZE } from '../state/layout'
import { Mode } from '../state/mode'
import { TestRandom } from '../test-random'
import { bulkFill, bulkMove } from './bulk-string'

const PAGE = 4096
const ROUNDS = 600
const TLB_AT = Math.ceil(STATE_SIZE / PAGE) * PAGE
const FRAMES_AT = TLB_AT + Math.ceil(TLB_BYTES / PAGE) * PAGE
const FRAMES = 4
/** Linear pages from LINEAR on: the frame of each, and what the TLB has of it. */
const MAPPED = [
  { frame: 2, read: true, write: true }, { frame: 0, read: true, write: true }, { frame: 2, read: true, write: true }, { frame: 1, read: true, write: false },
  { frame: 3, read: false, write: false },
] as const
const LINEAR = { 32: 0xffff_8000n, 64: 0xffff_8880_1234_5000n } as const

const memory = new WebAssembly.Memory({ initial: Math.ceil((FRAMES_AT + FRAMES * PAGE) / 65536), maximum: 65536, shared: true })
const bytes = new Uint8Array(memory.buffer)
const view = new DataView(memory.buffer)
const state = new CpuState(memory.buffer, 0)
const frames = bytes.subarray(FRAMES_AT, FRAMES_AT + FRAMES * PAGE)

interface Assembled { readonly run: Record<string, (cpu: number, shift: number, wide: number) => void>; fallBacks: number }

/** @param linear the first page */
function assemble(helpers: readonly Helper[], linear: bigint): Assembled {
  const m = new ModuleBuilder()
  helpers.forEach((h) => m.importFunction('helper', h.name, helperType(h)))
  helpers.forEach((h, i) => m.setBody(m.defineFunction(helperType(h), h.name), buildHelperBody(h, i) as Uint8Array))
  const directBytes = (at: bigint, length: number): Uint8Array => {
    const start = place(Number(at - linear))
    return frames.subarray(start, start + length)
  }
  const context = { state, memory: { directBytes } } as unknown as CpuContext
  const imports = Object.fromEntries(helpers.map((h) => [h.name, (_cpu: number, shift: never, wide: never) => {
    assembled.fallBacks++
    h.run(context, shift, wide)
  }]))
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish(65536, 1) as BufferSource), { env: { memory, table }, helper: imports })
  const assembled: Assembled = { run: exports as unknown as Assembled['run'], fallBacks: 0 }
  return assembled
}

function fillTlb(linear: bigint): void {
  for (let i = 0; i < TLB_ENTRIES; i++) {
    view.setBigUint64(TLB_AT + i * TLB_ENTRY_SIZE + TlbEntry.readTag, TLB_EMPTY, true)
    view.setBigUint64(TLB_AT + i * TLB_ENTRY_SIZE + TlbEntry.writeTag, TLB_EMPTY, true)
  }
  MAPPED.forEach((mapped, i) => {
    if (!mapped.read) return
    const page = linear + BigInt(i * PAGE)
    const entry = TLB_AT + Number((page >> 12n) & BigInt(TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE
    view.setBigUint64(entry + TlbEntry.readTag, page, true)
    if (mapped.write) view.setBigUint64(entry + TlbEntry.writeTag, page, true)
    view.setInt32(entry + TlbEntry.addend, FRAMES_AT + mapped.frame * PAGE - Number(page & 0xffff_ffffn), true)
  })
}

/** Offset in `frames` of a byte at a distance from the first page. */
const place = (offset: number): number => MAPPED[offset >> 12].frame * PAGE + (offset & 0xfff)

describe.each([32, 64] as const)('addresses of %i bits', (size) => {
  const linear = LINEAR[size]
  const assembled = assemble([bulkMove, bulkFill], linear)
  const { run } = assembled

  it.each([['bulkMove', false], ['bulkFill', true]] as const)('%s does what its elements would do, as many whatever the TLB has', (name, fill) => {
    const random = new TestRandom(size)
    state.set('tlbBase', TLB_AT)
    state.set('modeKey', 0)
    fillTlb(linear)
    let whole = 0
    assembled.fallBacks = 0
    for (let round = 0; round < ROUNDS; round++) {
      for (let i = 0; i < frames.length; i++) frames[i] = (i * 7 + round) & 0xff
      const shift = random.below(size === 64 ? 4 : 3)
      const element = 1 << shift
      const [to, from] = [random.below(MAPPED.length * PAGE - 16), random.below(MAPPED.length * PAGE - 16)]
      const near = random.below(4) === 0 ? to + random.below(80) - 40 : from
      const source = near >= 0 && near < MAPPED.length * PAGE ? near : from
      const count = random.below(random.below(2) === 0 ? 100 : 3000)
      const pattern = random.below(3) === 0 ? 0n : 0x1122_3344_5566_7788n
      // 32-bit addresses leave the upper halves out.
      const upper = size === 32 ? 0x5555_0000_0000n : 0n
      state.setGpr(Gpr.RAX, pattern)
      state.setGpr(Gpr.RCX, BigInt(count) | upper)
      state.setGpr(Gpr.RSI, (linear + BigInt(source)) | upper)
      state.setGpr(Gpr.RDI, (linear + BigInt(to)) | upper)
      const expected = frames.slice()

      run[name](0, shift, size === 64 ? 1 : 0)

      const done = state.gpr(Gpr.RCX) === (BigInt(count) | upper) ? 0 : count - Number(state.gpr(Gpr.RCX))
      for (let i = 0; i < done * element; i++) {
        expected[place(to + i)] = fill ? Number((pattern >> BigInt(8 * (i % element))) & 0xffn) : expected[place(source + i)]
      }
      const what = `${name} ${element} × ${count} from ${source} to ${to}`
      expect(Buffer.compare(expected, frames), what).toBe(0)
      if (done > 0) {
        expect(state.gpr(Gpr.RDI), what).toBe(linear + BigInt(to + done * element))
        expect(state.gpr(Gpr.RSI), what).toBe(fill ? (linear + BigInt(source)) | upper : linear + BigInt(source + done * element))
      }
      const room = (offset: number): number => Math.floor((PAGE - (offset & 0xfff)) / element)
      const most = Math.min(count, room(to), fill ? count : room(source))
      const distance = place(to) - place(source)
      const possible = most * element >= 8 && (fill || distance <= 0 || distance >= most * element)
      expect(done, what).toBe(possible ? most : 0)
      if (possible) whole++
    }
    expect(whole).toBeGreaterThan(ROUNDS / 4)
    expect(assembled.fallBacks).toBeGreaterThan(ROUNDS / 10)
    expect(assembled.fallBacks).toBeLessThan(ROUNDS)
  })

  it('leaves every element to itself where each may trap', () => {
    state.set('modeKey', Mode.SINGLE_STEP)
    state.setGpr(Gpr.RCX, 64n)
    state.setGpr(Gpr.RDI, linear)
    run.bulkFill(0, 0, size === 64 ? 1 : 0)
    expect(state.gpr(Gpr.RCX)).toBe(64n)
  })
})

/** The page fault's gate in wasm against the delivery in TypeScript, over random tables, stacks, modes and flags. */
import { describe, expect, it } from 'vitest'
import { FrameTable, PAGE_SIZE } from '../../memory/frame-table'
import { PhysicalRam } from '../../memory/guest-memory'
import { SoftTlb } from '../../mmu/soft-tlb'
import { TLB_VIEWS, TlbView } from '../../mmu/tlb-layout'
import { PageWalker } from '../../mmu/walk'
import { Vector } from '../core/context'
import { ModuleBuilder } from '../emit/wasm/module'
import { QuickDelivery } from '../events/quick'
import { CpuState } from '../state/access'
import { unpackRflags } from '../state/flags'
import { Gpr, STATE_SIZE, Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { TestRandom } from '../test-random'
import { buildFaultGate } from './fault-gate'

const PAGES = 16
const AT = { state: 0x1_0000, tlb: 0x5_0000, table: 0x24_0000, frames: 0x25_0000 } as const
const WASM_PAGES = Math.ceil((AT.frames + PAGES * PAGE_SIZE) / 65536)
const CASES = 2000
const CODE = 8, DATA = 16
const RING0_TABLE = 0x70_0000
const SLICE = 100

/** Linear memory is the machine's RAM, without paging; what the TLB has differs from page to page. */
class Rig {
  readonly memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: WASM_PAGES, shared: true })
  readonly bytes = new Uint8Array(this.memory.buffer)
  readonly view = new DataView(this.memory.buffer)
  readonly state = new CpuState(this.memory.buffer, AT.state)
  private readonly frames = new FrameTable(this.memory.buffer, { tableBase: AT.table, framesBase: AT.frames, ramBytes: PAGES * PAGE_SIZE })
  private readonly ram = new PhysicalRam(this.memory.buffer, this.frames)
  private readonly tlb = new SoftTlb(this.memory.buffer, AT.tlb, new PageWalker(this.ram, this.state, 40), this.ram, this.state)
  readonly quick = new QuickDelivery(this.memory.buffer, this.state, this.tlb)
  readonly gate: (cpu: number) => number

  constructor() {
    const m = new ModuleBuilder()
    m.setBody(m.defineFunction({ params: ['i32'], results: ['i32'] }, 'gate'), buildFaultGate())
    const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
    const instance = new WebAssembly.Instance(new WebAssembly.Module(m.finish(WASM_PAGES, 1) as BufferSource), { env: { memory: this.memory, table } })
    this.gate = instance.exports.gate as (cpu: number) => number
  }

  host(address: number): number { return this.frames.hostOffset(address >>> 12) + (address & 0xfff) }

  /** Puts some bytes into guest memory, across pages too. */
  put(address: number, bytes: readonly number[]): void {
    bytes.forEach((byte, i) => { this.bytes[this.host(address + i)] = byte })
  }

  fillTlb(r: TestRandom): void {
    this.tlb.flush(false)
    this.tlb.modeChanged()
    for (let view = 0; view < TLB_VIEWS; view++) this.state.set('viewBases', this.tlb.viewBase(view), view)
    for (let page = 0; page < PAGES; page++) if (!r.rarely(30)) this.tlb.translate(page * PAGE_SIZE, 0, !r.rarely(10), TlbView.SUPERVISOR)
  }
}

const little = (value: bigint, bytes: number): number[] => Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn))

/** Somewhere in RAM, now and then close to a page's end. */
const somewhere = (r: TestRandom, page: number): number => page * PAGE_SIZE + (r.rarely(8) ? 0xfe0 + 4 * r.below(8) : 16 * r.below(128))

function descriptor(r: TestRandom, upper: number): number[] {
  const wrong = r.rarely(25) ? 1 << r.below(24) : 0
  return [...little(r.rarely(40) ? 0xfffen : 0xffffn, 4), ...little(BigInt((upper ^ wrong) >>> 0), 4)]
}

function gateBytes(r: TestRandom, long: boolean): number[] {
  const type = r.rarely(25) ? 0x8f00 : r.rarely(25) ? 0xee00 : r.rarely(25) ? 0x8e01 : 0x8e00
  const selector = r.rarely(25) ? r.pick([0, 9, 12, 24, 0x40]) : CODE
  const offset = BigInt(r.word())
  const low = (offset & 0xffffn) | (BigInt(selector) << 16n) | (BigInt(type) << 32n) | ((offset >> 16n) << 48n)
  const high = r.pick([0xffff_ffffn, 0n, 0x7fffn, 0x8000n, 0xffff_8000n])
  return long ? [...little(low, 8), ...little(high, 8)] : little(low, 8)
}

/** Tables and registers of one case. @returns the error code */
function prepare(rig: Rig, r: TestRandom, long: boolean): number {
  const { state } = rig
  state.bytes.fill(0, AT.state, AT.state + offsetOf('jumps'))
  for (let i = 0; i < 16; i++) state.setGpr(i, (BigInt(r.word()) << 32n) | BigInt(r.word()))
  const [gdt, idt, tss] = [somewhere(r, 1), somewhere(r, 2), somewhere(r, 4)]
  const user = !r.rarely(3)
  rig.put(gdt, [...new Array<number>(8).fill(0), ...descriptor(r, long ? 0x00af_9b00 : 0x00cf_9b00), ...descriptor(r, 0x00cf_9300)])
  rig.put(idt + Vector.PF * (long ? 16 : 8), gateBytes(r, long))
  const stack = r.rarely(30) ? r.word() : somewhere(r, 6) + r.below(64)
  const [rsp, esp0] = user ? [r.word(), stack] : [stack, 0]
  rig.put(tss + 4, long ? little(BigInt(esp0), 8) : [...little(BigInt(esp0), 4), r.rarely(20) ? CODE : DATA, 0])
  state.setGpr(Gpr.RSP, BigInt(rsp))
  state.set64('gdtrBase', BigInt(gdt))
  state.set('gdtrLimit', r.rarely(20) ? r.below(24) : 0xff)
  state.set64('idtrBase', BigInt(idt))
  state.set('idtrLimit', r.rarely(20) ? r.below(256) : 0xfff)
  state.set64('segBase', BigInt(tss), Seg.TR)
  state.set('segLimit', r.rarely(20) ? r.below(16) : 0x67, Seg.TR)
  state.set('segAttr', r.rarely(20) ? 0x89 : 0x8b, Seg.TR)
  for (const seg of [Seg.CS, Seg.SS]) state.set('segSelector', r.below(0x1_0000), seg)
  state.set64('rip', (BigInt(long ? r.word() : 0) << 32n) | BigInt(r.word()))
  unpackRflags(state, BigInt(r.word() & 0x3f_7fd5) & ~0x100n)
  state.set64('cr4', r.rarely(2) ? 1n << 21n : 0n)
  const side = user ? Mode.USER : 0
  const kind = long ? Mode.CODE64 | Mode.LONG : Mode.CODE32
  state.set('modeKey', (r.rarely(40) ? r.below(512) : kind | Mode.FLAT | Mode.PROTECTED) | side)
  state.set('cpl', r.rarely(40) ? r.below(4) : user ? 3 : 0)
  state.set('ringTables', r.rarely(40) ? 0 : RING0_TABLE)
  state.set('intShadow', r.below(3))
  state.set('faultVector', Vector.PF)
  state.set('faultHasError', 1)
  const error = r.below(32)
  state.set('faultError', error)
  state.set('sliceLeft', SLICE)
  rig.fillTlb(r)
  return error
}

/** Cells that the run loop looks after where TypeScript delivers. */
function loopCells(rig: Rig): void {
  for (const name of ['faultVector', 'gateFaults'] as const) rig.state.set(name, 0)
}

/** What a delivery may change: registers and engine cells, and RAM. */
const PLACES = [
  [AT.state, offsetOf('jumps')], [AT.state + offsetOf('gateFaults'), 4], [AT.state + offsetOf('gateShut'), 4], [AT.frames, PAGES * PAGE_SIZE],
] as const
const memoryOf = (rig: Rig): Buffer => Buffer.concat(PLACES.map(([at, bytes]) => rig.bytes.subarray(at, at + bytes)))

function restore(rig: Rig, saved: Buffer): void {
  let from = 0
  for (const [at, bytes] of PLACES) {
    rig.bytes.set(saved.subarray(from, from + bytes), at)
    from += bytes
  }
}

describe.each([['64-bit', true], ['32-bit', false]] as const)('a page fault of %s code', (_name, long) => {
  it('is delivered as TypeScript delivers it, or left alone', () => {
    const rig = new Rig()
    const r = new TestRandom(long ? 64 : 32)
    let delivered = 0
    for (let i = 0; i < CASES; i++) {
      const error = prepare(rig, r, long)
      const before = memoryOf(rig)
      const expected = rig.quick.deliver(Vector.PF, 'fault', error)
      if (!expected) expect(memoryOf(rig).equals(before), `case ${i}: TypeScript changed something`).toBe(true)
      loopCells(rig)
      const wanted = memoryOf(rig)
      restore(rig, before)
      expect(rig.gate(AT.state), `case ${i}`).toBe(expected ? 1 : 0)
      if (expected) delivered++
      expect(rig.state.get('faultVector')).toBe(expected ? 0xffff_ffff : Vector.PF)
      expect(rig.state.get('gateFaults')).toBe(expected ? 1 : 0)
      loopCells(rig)
      const got = memoryOf(rig)
      if (!got.equals(wanted)) expect.fail(`case ${i}: byte ${got.findIndex((byte, at) => byte !== wanted[at])} of state and RAM`)
    }
    expect(delivered).toBeGreaterThan(CASES / 4)
    expect(delivered).toBeLessThan(CASES * 0.9)
  })

  it.each([
    ['another exception is pending', 'faultVector', Vector.GP], ['TypeScript asked for it', 'gateShut', 1],
    ['nothing is left of the slice', 'sliceLeft', 0], ['somebody wants a look', 'sliceLeft', 0xffff_ffff],
  ] as const)('is left to TypeScript where %s', (_case, name, value) => {
    const rig = new Rig()
    const r = new TestRandom(7)
    let delivered = 0
    for (let i = 0; i < 50; i++) {
      prepare(rig, r, long)
      const before = memoryOf(rig)
      rig.state.set(name, value)
      const held = memoryOf(rig)
      expect(rig.gate(AT.state)).toBe(0)
      expect(memoryOf(rig).equals(held)).toBe(true)
      restore(rig, before)
      delivered += rig.gate(AT.state)
    }
    expect(delivered).toBeGreaterThan(10)
  })
})

it('the state block fits below the TLB of the test', () => expect(AT.state + STATE_SIZE).toBeLessThanOrEqual(AT.tlb))

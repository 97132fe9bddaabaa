/** XSAVE and XRSTOR in wasm against their TypeScript, over random states, areas, modes and TLB entries. */
import { describe, expect, it } from 'vitest'
import { TLB_BYTES, TLB_EMPTY, TLB_ENTRIES, TLB_ENTRY_SIZE, TlbEntry } from '../../mmu/tlb-layout'
import { CpuFault, type CpuContext } from '../core/context'
import { buildHelperBody, helperType } from '../emit/wasm/helper-body'
import { ModuleBuilder } from '../emit/wasm/module'
import { CpuState } from '../state/access'
import { STATE_SIZE, Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { TestRandom } from '../test-random'
import { xrstorHelper, xsaveHelper } from './xsave'
import { AREA, HEADER } from './xsave-area'

const PAGE = 4096
const ROUNDS = 600
const TLB_AT = Math.ceil(STATE_SIZE / PAGE) * PAGE
const FRAME_AT = TLB_AT + Math.ceil(TLB_BYTES / PAGE) * PAGE
const LINEAR = 0xffff_8000n

const helpers = [xsaveHelper, xrstorHelper] as const
const memory = new WebAssembly.Memory({ initial: Math.ceil((FRAME_AT + PAGE) / 65536), maximum: 65536, shared: true })
const bytes = new Uint8Array(memory.buffer)
const view = new DataView(memory.buffer)
const state = new CpuState(memory.buffer, 0)
const frame = bytes.subarray(FRAME_AT, FRAME_AT + PAGE)

const directBytes = (at: bigint, length: number): Uint8Array => {
  const start = FRAME_AT + Number(at & 0xfffn)
  return bytes.subarray(start, start + length)
}
const context = { state, memory: { directBytes } } as unknown as CpuContext

type Run = (cpu: number, segment: number, address: bigint, requested: bigint, wide: number) => void
let fallBacks = 0

function assemble(): Record<string, Run> {
  const m = new ModuleBuilder()
  helpers.forEach((h) => m.importFunction('helper', h.name, helperType(h)))
  helpers.forEach((h, i) => m.setBody(m.defineFunction(helperType(h), h.name), buildHelperBody(h, i) as Uint8Array))
  const imports = Object.fromEntries(helpers.map((h) => [h.name, () => { fallBacks++ }]))
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
  const module = new WebAssembly.Module(m.finish(65536, 1) as BufferSource)
  return new WebAssembly.Instance(module, { env: { memory, table }, helper: imports }).exports as unknown as Record<string, Run>
}

function fillTlb(r: TestRandom): void {
  for (let i = 0; i < TLB_ENTRIES; i++) {
    view.setBigUint64(TLB_AT + i * TLB_ENTRY_SIZE + TlbEntry.readTag, TLB_EMPTY, true)
    view.setBigUint64(TLB_AT + i * TLB_ENTRY_SIZE + TlbEntry.writeTag, TLB_EMPTY, true)
  }
  const entry = TLB_AT + Number((LINEAR >> 12n) & BigInt(TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE
  if (r.rarely(20)) return
  view.setBigUint64(entry + TlbEntry.readTag, LINEAR, true)
  if (!r.rarely(20)) view.setBigUint64(entry + TlbEntry.writeTag, LINEAR, true)
  view.setInt32(entry + TlbEntry.addend, FRAME_AT - Number(LINEAR), true)
}

/** @returns the helper's arguments */
function prepare(r: TestRandom): [segment: number, address: bigint, requested: bigint, wide: number] {
  r.fill(bytes.subarray(0, offsetOf('zero')))
  r.fill(frame)
  state.bytes.fill(0, offsetOf('zero'), offsetOf('jumps'))
  const halves: [Parameters<typeof state.set>[0], number][] = [['fcw', 0x1_0000], ['fsw', 0x1_0000], ['ftw', 256], ['fpOpcode', 0x800], ['fpCs', 0x1_0000], ['fpDs', 0x1_0000], ['mxcsr', 0x1_0000]]
  for (const [name, limit] of halves) state.set(name, r.below(limit))
  for (const name of ['fpIp', 'fpDp'] as const) state.set64(name, (BigInt(r.below(0x1_0000)) << 32n) | BigInt(r.below(2 ** 32)))
  const long = !r.rarely(2)
  state.set('modeKey', Mode.PROTECTED | (long ? Mode.CODE64 | Mode.LONG : Mode.CODE32) | (!long && r.rarely(20) ? 0 : Mode.FLAT))
  for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) {
    state.set('segLimit', 0xffff_ffff, seg)
    state.set('segAttr', 0xc093, seg)
  }
  state.set64('cr4', r.rarely(20) ? 0n : 1n << 18n)
  state.set64('cr0', r.rarely(20) ? 9n : 1n)
  state.set64('xcr0', r.rarely(20) ? 1n : 3n)
  state.set('tlbBase', TLB_AT)
  fillTlb(r)
  const offset = r.rarely(20) ? r.below(PAGE - AREA) : 64 * r.below(r.rarely(10) ? 64 : 56)
  if (!r.rarely(10)) frame.fill(0, offset + HEADER + 1, offset + AREA)
  if (!r.rarely(10)) frame[offset + HEADER] = r.rarely(10) ? r.below(3) : 3
  if (!r.rarely(10)) frame.fill(0, offset + 26, offset + 28)
  const requested = r.rarely(20) ? BigInt(r.below(4)) : 0xffff_ffff_ffff_ffffn
  return [r.rarely(20) ? Seg.FS : Seg.DS, LINEAR + BigInt(offset), requested, long && !r.rarely(4) ? 1 : 0]
}

const contents = (): Buffer => Buffer.concat([bytes.subarray(0, offsetOf('jumps')), frame])

describe.each(helpers)('$name', (helper) => {
  it('does in wasm what TypeScript does, or nothing', () => {
    const run = assemble()[helper.name]
    const r = new TestRandom(helper.name.length)
    fallBacks = 0
    for (let round = 0; round < ROUNDS; round++) {
      const given = prepare(r)
      const before = contents()
      const fallenBefore = fallBacks
      run(0, ...given)
      const after = contents()
      if (fallBacks > fallenBefore) {
        expect(after.equals(before), `round ${round}: changed before it fell back`).toBe(true)
        continue
      }
      bytes.set(before.subarray(0, offsetOf('jumps')))
      frame.set(before.subarray(offsetOf('jumps')))
      expect(() => helper.run(context, ...(given as [never, never, never, never])), `round ${round}`).not.toThrow(CpuFault)
      expect(contents().equals(after), `round ${round}`).toBe(true)
    }
    expect(fallBacks).toBeGreaterThan(ROUNDS / 10)
    expect(fallBacks).toBeLessThan(ROUNDS * 0.75)
  })
})

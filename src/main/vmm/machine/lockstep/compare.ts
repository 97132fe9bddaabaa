/** What two machines that should do the same are held to: every architectural register, and memory where it was written. */
import { packRflags, packRflagsLow } from '../../cpu/state/flags'
import { CpuState } from '../../cpu/state/access'
import { FIELDS, Gpr, offsetOf, type FieldName } from '../../cpu/state/layout'
import { cellName } from '../../cpu/state/names'
import { PAGE_SIZE } from '../../memory/frame-table'
import type { EmbeddedMachine } from '../machine'

/** Cells of the engine: they follow from the architectural state, or mean nothing between two instructions. */
const ENGINE_CELLS: ReadonlySet<FieldName> = new Set<FieldName>([
  'zero', 'mask16', 'mask32', 'mask64', 'nextRip', 'blockRip', 'ccResult', 'ccCarry', 'rflags', 'faultVector', 'faultError', 'faultHasError',
  'gateFaults', 'gateShut', 'exitReason', 'sliceLeft', 'tlbBase', 'codeTlbBase', 'viewBases', 'ringTables', 'interruptWaits', 'renewals', 'renewed', 'codeEpoch', 'jumps', 'scratch',
  'walkKind', 'walkReserved', 'frameTable', 'framePages', 'tlbFills', 'largePages',
])

export interface RegisterValues {
  readonly name: string
  /** Hexadecimal digits. */
  readonly before: string
  readonly reference: string
  readonly tested: string
}

interface Register { readonly name: string; readonly at: number; readonly bytes: number }

const TYPE_BYTES = { u8: 1, u16: 2, i32: 4, i64: 8, v128: 16 } as const
function listRegisters(): readonly Register[] {
  const names = (Object.keys(FIELDS) as FieldName[]).filter((name) => !ENGINE_CELLS.has(name))
  return names.flatMap((field) => {
    const bytes = TYPE_BYTES[FIELDS[field].type]
    return Array.from({ length: FIELDS[field].count }, (_, i) => ({ name: cellName(field, i), at: offsetOf(field, i), bytes }))
  })
}

const REGISTERS = listRegisters()

/** REGISTERS as runs of neighbouring bytes: [first, end). */
const RUNS = REGISTERS.reduce<{ first: number; end: number }[]>((runs, { at, bytes }) => {
  const last = runs.at(-1)
  if (last?.end === at) last.end += bytes
  else runs.push({ first: at, end: at + bytes })
  return runs
}, [])

/** True where every architectural register and flag is equal. Runs at every stop. */
export function sameRegisters(a: CpuState, b: CpuState): boolean {
  for (const { first, end } of RUNS) {
    let at = first
    for (; at + 4 <= end; at += 4) if (a.view.getInt32(at, true) !== b.view.getInt32(at, true)) return false
    for (; at < end; at++) if (a.bytes[at] !== b.bytes[at]) return false
  }
  return packRflagsLow(a) === packRflagsLow(b)
}

function digits({ bytes }: CpuState, { at, bytes: length }: Register): string {
  return Array.from(bytes.subarray(at, at + length)).reverse().map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** A copy of a CPU's state that stays as it is. */
export function copyState(state: CpuState): CpuState {
  return new CpuState(state.bytes.slice().buffer, 0)
}

/** General registers, RIP and flags always; of the others those that changed or differ. */
export function registerValues(before: CpuState, reference: CpuState, tested: CpuState): RegisterValues[] {
  const all = REGISTERS.map((register) => ({ name: register.name, before: digits(before, register), reference: digits(reference, register), tested: digits(tested, register) }))
  const flags = (state: CpuState): string => packRflags(state).toString(16).padStart(8, '0')
  all.push({ name: 'rflags', before: flags(before), reference: flags(reference), tested: flags(tested) })
  const always = new Set([...Object.keys(Gpr).map((name) => name.toLowerCase()), 'rip', 'rflags'])
  return all.filter((value) => always.has(value.name) || value.reference !== value.tested || value.before !== value.reference)
}

/** Bytes of a piece of memory that differs. */
const ROW_BYTES = 16

export interface MemoryDifference {
  /** Guest-physical address, a multiple of 16. */
  readonly address: number
  readonly reference: Uint8Array
  readonly tested: Uint8Array
}

/** Compares the pages that either machine wrote since the last look. */
export class MemoryComparison {
  private readonly words: readonly [Int32Array, Int32Array]
  comparedPages = 0

  constructor(private readonly reference: EmbeddedMachine, private readonly tested: EmbeddedMachine) {
    this.words = [new Int32Array(reference.ram.bytes.buffer), new Int32Array(tested.ram.bytes.buffer)]
    this.takeWritten()
  }

  private takeWritten(): Set<number> {
    const written = new Set<number>()
    for (const { ram, cpu } of [this.reference, this.tested]) {
      for (const page of ram.frames.takeWritten()) written.add(page)
      cpu.tlb.dropWriteTags()
    }
    return written
  }

  /** The first differing pieces, at most `count`. What was compared is not looked at again unless it is written again. */
  differences(count: number): MemoryDifference[] {
    const found: MemoryDifference[] = []
    const pages = this.takeWritten()
    this.comparedPages += pages.size
    for (const page of [...pages].sort((a, b) => a - b)) {
      if (found.length < count) this.comparePage(page, found, count)
    }
    return found
  }

  private comparePage(page: number, found: MemoryDifference[], count: number): void {
    const [a, b] = this.words
    const first = this.reference.ram.frames.hostOffset(page)
    const second = this.tested.ram.frames.hostOffset(page)
    for (let i = 0; i < PAGE_SIZE / 4; i++) {
      if (a[first / 4 + i] === b[second / 4 + i]) continue
      if (found.length >= count) return
      const offset = (i * 4) & ~(ROW_BYTES - 1)
      const row = (machine: EmbeddedMachine, at: number): Uint8Array => machine.ram.bytes.slice(at + offset, at + offset + ROW_BYTES)
      found.push({ address: page * PAGE_SIZE + offset, reference: row(this.reference, first), tested: row(this.tested, second) })
      i = (offset + ROW_BYTES) / 4 - 1
    }
  }
}

/** Devices whose states differ, with both. */
export function deviceDifferences(reference: EmbeddedMachine, tested: EmbeddedMachine): { readonly id: string; readonly reference: string; readonly tested: string }[] {
  const theirs = tested.deviceStates()
  return [...reference.deviceStates()].flatMap(([id, state]) => {
    const other = theirs.get(id) ?? 'missing'
    return other === state ? [] : [{ id, reference: state, tested: other }]
  })
}

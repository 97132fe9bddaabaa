/** The software TLB's probe in generated code (see `mmu/tlb-layout.ts`). */
import { TLB_ENTRIES, TLB_ENTRY_SIZE, TlbEntry } from '../../../mmu/tlb-layout'
import type { FunctionBuilder, Node } from './function'

/** A linear address shifted right by this, masked, is the byte offset of its TLB entry. */
const SLOT_SHIFT = 12 - Math.log2(TLB_ENTRY_SIZE)
const SLOT_MASK = (TLB_ENTRIES - 1) * TLB_ENTRY_SIZE

export interface Probe {
  /** Whether an entry serves the access (i32), and the page of its last byte. */
  readonly hit: Node
  readonly page: Node
  /** Host address of the first byte, if so, less `offset`. */
  readonly host: () => Node
  readonly offset: number
  /** What it is made of: the low half of the linear address, and what the entry adds to that. */
  readonly low: Node
  readonly addend: () => Node
  /** Of a probe that may grow: has it serve more bytes from the same first one on, so that it looks at the last of those. */
  readonly reach: ((bytes: number) => void) | undefined
}

function hostBy(f: FunctionBuilder, low: Node, entry: Node): Pick<Probe, 'host' | 'offset' | 'low' | 'addend'> {
  const addend = (): Node => f.load('i32.load', 'i32', entry, TlbEntry.addend)
  return { low, addend, offset: 0, host: () => f.pure('i32.add', 'i32', [low, addend()]) }
}

/** What a probe is asked. */
export interface Probed {
  /** Address of the entries of the view in force. */
  readonly tlbBase: Node
  readonly linear: Node
  readonly bytes: number
  /** Of the tag the access goes by. */
  readonly tagOffset: number
  /** More bytes may be asked for later. */
  readonly grows: boolean
}

/** Address of the last byte, and what changes the number of bytes. */
function lastOf(f: FunctionBuilder, { linear, bytes, grows }: Probed): { readonly last: Node } & Pick<Probe, 'reach'> {
  if (bytes === 1 && !grows) return { last: linear, reach: undefined }
  const { sum, set } = f.adjustableSum(linear, bytes - 1)
  return { last: sum, reach: grows ? (n) => { set(n - 1) } : undefined }
}

/** Where linear addresses are i64. */
export function probeTlb(f: FunctionBuilder, probed: Probed): Probe {
  const { tlbBase, linear, tagOffset } = probed
  const low = f.pure('i32.wrap_i64', 'i32', [f.pure('i64.shr_u', 'i64', [linear, f.i64(BigInt(SLOT_SHIFT))])])
  const entry = f.pure('i32.add', 'i32', [tlbBase, f.pure('i32.and', 'i32', [low, f.i32(SLOT_MASK)])])
  const { last, reach } = lastOf(f, probed)
  const page = f.pure('i64.and', 'i64', [last, f.i64(-4096n)])
  const hit = f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, tagOffset), page])
  return { hit, page, reach, ...hostBy(f, f.pure('i32.wrap_i64', 'i32', [linear]), entry) }
}

/** Where every linear address has 32 bits, and is an i32: no entry has a tag above them. */
export function probeTlb32(f: FunctionBuilder, probed: Probed): Probe {
  const { tlbBase, linear, tagOffset } = probed
  const slot = f.pure('i32.and', 'i32', [f.pure('i32.shr_u', 'i32', [linear, f.i32(SLOT_SHIFT)]), f.i32(SLOT_MASK)])
  const entry = f.pure('i32.add', 'i32', [tlbBase, slot])
  const { last, reach } = lastOf(f, probed)
  const page = f.pure('i32.and', 'i32', [last, f.i32(-4096)])
  const hit = f.pure('i32.eq', 'i32', [f.load('i32.load', 'i32', entry, tagOffset), page])
  return { hit, page, reach, ...hostBy(f, linear, entry) }
}

/**
 * Finds what tier 2 translates: the loops around a hot head with the functions they call, as basic blocks of its page and a few more in
 * address order, and how their jumps become wasm control flow.
 *
 * Compilers lay loops out as address ranges, so a range from a loop's head to its last jump back becomes a wasm loop, and
 * a jump forward leaves a wasm block that ends before its target. Where code is entered in ways such nesting cannot tell (a
 * function that is called, the place it returns to) a new *segment* begins: segments are the cases of one switch in a loop.
 * So it does where a loop is entered from outside its head. Jumps out of the region leave the function.
 */
import type { DecodedInsn } from '../decode/types'
import { pageOf } from './code-window'
import { collect, type Flow, type RegionCode, type Shape } from './region-flow'
import { intoLoops, nest, type Scope } from './region-nest'

export interface RegionInsn {
  readonly insn: DecodedInsn
  /** Byte offset from the head's page; it may lie in another one. */
  readonly offset: number
}

/** How a block ends: `branch` may fall through, `other` leaves the region. */
export type BlockEnd = 'falls' | 'branch' | 'jump' | 'call' | 'return' | 'other'

export interface RegionBlock {
  readonly offset: number
  readonly insns: readonly RegionInsn[]
  /** Byte offset behind the last instruction. */
  readonly end: number
  readonly ends: BlockEnd
  /** Offset of the static target of a branch, jump or call; undefined where it has none, or one that may wrap. */
  readonly target: number | undefined
  /** Offset of the target it went to last, where it has no static one. */
  readonly likely: number | undefined
}

/** Blocks that are entered at the first only, from elsewhere. Indices into the blocks, `end` exclusive. */
export interface Segment {
  readonly start: number
  readonly end: number
  /** Outer scopes first. */
  readonly scopes: readonly Scope[]
}

export interface Region {
  readonly blocks: readonly RegionBlock[]
  readonly segments: readonly Segment[]
  /** Index of the block at an offset. */
  readonly at: ReadonlyMap<number, number>
  /** For blocks that end in a return or another jump to an address known at run time: indices of the blocks it may go to. */
  readonly goes: ReadonlyMap<number, readonly number[]>
  /** Pages beside the head's that the blocks lie in, by their distance from it. */
  readonly pages: readonly number[]
  /** Page offsets at which the region may be entered, its head first: places that calls out of it return to. */
  readonly entries: readonly number[]
  /** Page offsets below the head that blocks jump back to: a loop around this one may begin there. Lowest first. */
  readonly before: readonly number[]
}

export const fallsThrough = ({ ends }: RegionBlock): boolean => ends === 'falls' || ends === 'branch'

/** The pages a block lies in, by their distance from the head's. */
export const pagesOf = ({ offset, end }: Pick<RegionBlock, 'offset' | 'end'>): number[] => [...new Set([pageOf(offset), pageOf(end - 1)])]

/**
 * @param head page offset of the region's entry; of the code that is jumped to, none lies below it
 * @returns undefined where there is nothing of that shape
 */
export function findRegion(code: RegionCode, head: number, shape: Shape): Region | undefined {
  const flow = collect(code, head, shape)
  if (!flow) return undefined
  const { blocks, at, goes } = flow
  const back = blocks.map((block) => (block.ends === 'call' ? undefined : block.target)).filter((target) => target !== undefined && target >= 0 && target < head) as number[]
  return {
    blocks, at, goes, pages: [...new Set(blocks.flatMap(pagesOf))].filter((page) => page !== 0).sort((a, b) => a - b), segments: cut(flow, head), entries: [head, ...flow.entries.filter((offset) => offset !== head)],
    before: [...new Set(back)].sort((a, b) => a - b),
  }
}

/**
 * The widest region around a hot head: loops often have several heads, and the one that is hot first need not be the
 * lowest. @returns the region and its own head
 */
export function findWidestRegion(find: (head: number) => Region | undefined, head: number): { readonly region: Region; readonly head: number } | undefined {
  const region = find(head)
  if (!region) return undefined
  for (const lower of region.before) {
    const wider = find(lower)
    if (wider?.at.has(head)) return findWidestRegion(find, lower)
  }
  return { region, head }
}

/** Segments begin where code is entered from elsewhere; a jump into the middle of one makes it two, and so does one into a loop. */
function cut({ blocks, at, goes, entries, calls }: Flow, head: number): Segment[] {
  const starts = new Set([0])
  for (const offset of [head, ...entries, ...calls]) {
    const index = at.get(offset)
    if (index !== undefined) starts.add(index)
  }
  for (const places of goes.values()) for (const place of places) starts.add(place)
  for (let size = 0; size !== starts.size;) {
    size = starts.size
    const segmentOf = numbering(starts, blocks.length)
    blocks.forEach((block, from) => {
      const to = block.target === undefined ? undefined : at.get(block.target)
      if (to !== undefined && segmentOf[to] !== segmentOf[from]) starts.add(to)
    })
    if (starts.size === size) for (const to of segmentsOf(starts, blocks, at).flatMap((segment) => intoLoops(blocks, at, segment))) starts.add(to)
  }
  return segmentsOf(starts, blocks, at)
}

function segmentsOf(starts: ReadonlySet<number>, blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>): Segment[] {
  const sorted = [...starts].sort((a, b) => a - b)
  return sorted.map((start, i) => {
    const end = sorted[i + 1] ?? blocks.length
    return { start, end, scopes: nest(blocks, at, start, end) }
  })
}

/** For each block the number of its segment. */
function numbering(starts: ReadonlySet<number>, count: number): number[] {
  let segment = -1
  return Array.from({ length: count }, (_, i) => (starts.has(i) ? ++segment : segment))
}

/**
 * Finds what tier 2 translates: the loops around a hot head, as basic blocks of one page in address order, and the nesting
 * of wasm loops and blocks that their jumps need.
 *
 * Compilers lay loops out as address ranges, so a range from a loop's head to its last jump back becomes a wasm loop, and
 * a jump forward leaves a wasm block that ends before its target. Jumps that would enter a loop from outside its head, and
 * jumps out of the region, leave the function.
 */
import type { DecodedInsn } from '../decode/types'

/** More instructions than this do not pay: the host's compiler slows down, and only some of them are hot. */
const MAX_INSNS = 240

export interface RegionInsn {
  readonly insn: DecodedInsn
  /** Byte offset in the page. */
  readonly offset: number
}

export interface RegionBlock {
  readonly offset: number
  readonly insns: readonly RegionInsn[]
  /** Byte offset behind the last instruction. */
  readonly end: number
  /** Execution may run on to `end`. */
  readonly falls: boolean
}

/** A wasm loop (jumps to its first block) or block (jumps to behind its last). Indices into the blocks, `end` exclusive. */
export interface Scope {
  readonly kind: 'loop' | 'block'
  start: number
  end: number
}

export interface Region {
  readonly blocks: readonly RegionBlock[]
  /** Outer scopes first. */
  readonly scopes: readonly Scope[]
  /** Index of the block at a page offset. */
  readonly at: ReadonlyMap<number, number>
  /** Page offsets below the head that blocks jump back to: a loop around this one may begin there. Lowest first. */
  readonly before: readonly number[]
}

/** Page offset of a relative branch's target; undefined for other instructions and where the target may wrap. */
export function branchTarget({ insn, offset }: RegionInsn): number | undefined {
  const operand = insn.operands.find((o) => o.kind === 'rel')
  if (operand?.kind !== 'rel' || insn.form.size === 16 || insn.row.mnemonic === 'CALL') return undefined
  return offset + insn.length + Number(operand.displacement)
}

const isConditional = ({ insn }: RegionInsn): boolean => insn.row.ends === 'branch' && /^(J(?!MP)|LOOP)/.test(insn.row.mnemonic)

/**
 * @param decodeAt the instruction at a page offset; undefined where none lies wholly in the page or it must not be translated
 * @param head page offset of the region's entry, and its lowest address
 * @param straight takes code without a loop too: for tests, which run every instruction on this tier
 * @returns undefined where no loop is found
 */
export function findRegion(decodeAt: (offset: number) => DecodedInsn | undefined, head: number, straight = false): Region | undefined {
  const found = walk(decodeAt, head)
  const blocks = found && splitBlocks(found, head)
  if (!blocks) return undefined
  const lastJump = straight ? blocks.length - 1 : lastJumpBack(blocks)
  if (lastJump < 0) return undefined
  const kept = blocks.slice(0, lastJump + 1)
  const at = new Map(kept.map((block, i) => [block.offset, i]))
  const back = kept.map(targetOf).filter((target) => target !== undefined && target >= 0 && target < head) as number[]
  return { blocks: kept, at, scopes: nest(kept, at), before: [...new Set(back)].sort((a, b) => a - b) }
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

/** Everything reachable from the head by static jumps forward of it. */
function walk(decodeAt: (offset: number) => DecodedInsn | undefined, head: number): { insns: Map<number, RegionInsn>; leaders: Set<number> } | undefined {
  const insns = new Map<number, RegionInsn>()
  const leaders = new Set([head])
  const open = [head]
  for (let start = open.pop(); start !== undefined; start = open.pop()) {
    for (let offset = start; !insns.has(offset);) {
      const insn = decodeAt(offset)
      if (!insn || insns.size >= MAX_INSNS) break
      const one = { insn, offset }
      insns.set(offset, one)
      offset += insn.length
      if (!insn.row.ends) continue
      const target = branchTarget(one)
      const next = isConditional(one) ? [offset, target] : [target]
      for (const to of next) {
        if (to === undefined || to < head || to >= 4096 || leaders.has(to)) continue
        leaders.add(to)
        open.push(to)
      }
      break
    }
  }
  return insns.has(head) ? { insns, leaders } : undefined
}

/** Basic blocks in address order. Undefined where instructions overlap: the jump goes into the middle of one. */
function splitBlocks({ insns, leaders }: { insns: Map<number, RegionInsn>; leaders: Set<number> }, head: number): RegionBlock[] | undefined {
  const sorted = [...insns.values()].sort((a, b) => a.offset - b.offset)
  const blocks: RegionBlock[] = []
  let block: RegionInsn[] = []
  const close = (): void => {
    if (block.length === 0) return
    const last = block[block.length - 1]
    const falls = !last.insn.row.ends || isConditional(last)
    blocks.push({ offset: block[0].offset, insns: block, end: last.offset + last.insn.length, falls })
    block = []
  }
  let end = head
  for (const one of sorted) {
    if (one.offset < end) return undefined
    if (leaders.has(one.offset) || one.offset !== end) close()
    block.push(one)
    end = one.offset + one.insn.length
    if (one.insn.row.ends) close()
  }
  close()
  return blocks
}

function targetOf(block: RegionBlock): number | undefined {
  return branchTarget(block.insns[block.insns.length - 1])
}

/** Index of the last block that jumps back, -1 none. */
function lastJumpBack(blocks: readonly RegionBlock[]): number {
  for (let i = blocks.length - 1; i >= 0; i--) {
    const target = targetOf(blocks[i])
    if (target !== undefined && target <= blocks[i].offset && blocks.some((b) => b.offset === target)) return i
  }
  return -1
}

function nest(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>): Scope[] {
  const loops = new Map<number, Scope>()
  const jumps: { from: number; to: number }[] = []
  blocks.forEach((block, from) => {
    const target = targetOf(block)
    const to = target === undefined ? undefined : at.get(target)
    if (to === undefined) return
    if (to > from) jumps.push({ from, to })
    else {
      const loop = loops.get(to)
      if (loop) loop.end = Math.max(loop.end, from + 1)
      else loops.set(to, { kind: 'loop', start: to, end: from + 1 })
    }
  })
  const nested = widen([...loops.values()])
  const forward = new Map<number, Scope>()
  for (const { from, to } of jumps) {
    if (nested.some((loop) => from < loop.start && loop.start < to && to < loop.end)) continue
    const scope = forward.get(to) ?? { kind: 'block', start: from, end: to }
    scope.start = Math.min(scope.start, from)
    forward.set(to, scope)
  }
  const scopes = [...nested, ...forward.values()]
  settle(scopes)
  // Outer before inner; of two that cover the same blocks the wasm block is outside, so that the loop can leave it.
  return scopes.sort((a, b) => a.start - b.start || b.end - a.end || (a.kind === 'block' ? -1 : 1))
}

/** Loops that overlap without nesting become one inside the other: the earlier one ends later. */
function widen(loops: Scope[]): Scope[] {
  for (let changed = true; changed;) {
    changed = false
    for (const outer of loops) {
      for (const inner of loops) {
        if (outer.start < inner.start && inner.start < outer.end && outer.end < inner.end) {
          outer.end = inner.end
          changed = true
        }
      }
    }
  }
  return loops
}

/** Blocks begin earlier until every two scopes are nested or apart. Their ends are where jumps must land, so they stay. */
function settle(scopes: readonly Scope[]): void {
  for (let changed = true; changed;) {
    changed = false
    for (const block of scopes) {
      if (block.kind !== 'block') continue
      for (const other of scopes) {
        if (other.start < block.start && block.start < other.end && other.end < block.end) {
          block.start = other.start
          changed = true
        }
      }
    }
  }
}

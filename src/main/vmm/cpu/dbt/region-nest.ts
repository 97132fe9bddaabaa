/** The nesting of wasm loops and blocks that the jumps within a segment of a region need. */
import type { RegionBlock } from './region'

/** A wasm loop (jumps to its first block) or block (jumps to behind its last). Indices into the blocks, `end` exclusive. */
export interface Scope {
  readonly kind: 'loop' | 'block'
  start: number
  end: number
}

/** @param start, end the segment's blocks. @returns outer scopes first */
export function nest(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>, start: number, end: number): Scope[] {
  const loops = new Map<number, Scope>()
  const jumps: { from: number; to: number }[] = []
  for (let from = start; from < end; from++) {
    const { target, ends } = blocks[from]
    const to = target === undefined || ends === 'call' ? undefined : at.get(target)
    if (to === undefined || to < start || to >= end) continue
    if (to > from) jumps.push({ from, to })
    else {
      const loop = loops.get(to)
      if (loop) loop.end = Math.max(loop.end, from + 1)
      else loops.set(to, { kind: 'loop', start: to, end: from + 1 })
    }
  }
  const nested = widen([...loops.values()])
  const forward = new Map<number, Scope>()
  for (const { from, to } of jumps) {
    if (nested.some((loop) => entersLoop(loop, from, to))) continue
    const scope = forward.get(to) ?? { kind: 'block', start: from, end: to }
    scope.start = Math.min(scope.start, from)
    forward.set(to, scope)
  }
  const scopes = [...nested, ...forward.values()]
  settle(scopes)
  // Outer before inner; of two that cover the same blocks the wasm block is outside, so that the loop can leave it.
  return scopes.sort((a, b) => a.start - b.start || b.end - a.end || (a.kind === 'block' ? -1 : 1))
}

/** A jump forward into a loop past its head. */
const entersLoop = (loop: Scope, from: number, to: number): boolean => loop.kind === 'loop' && from < loop.start && loop.start < to && to < loop.end

/** Blocks of a segment that jumps go to from outside a loop around them: no label leads there. */
export function intoLoops(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>, { start, end, scopes }: { readonly start: number; readonly end: number; readonly scopes: readonly Scope[] }): number[] {
  const found: number[] = []
  for (let from = start; from < end; from++) {
    const { target, ends } = blocks[from]
    const to = target === undefined || ends === 'call' ? undefined : at.get(target)
    if (to !== undefined && to < end && scopes.some((loop) => entersLoop(loop, from, to))) found.push(to)
  }
  return found
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

import { expect, it } from 'vitest'
import { Frame, FrameTable, PAGE_SIZE } from './frame-table'

const PAGES = 64

/** What `touchedBytes` promises, page by page. */
function counted(frames: FrameTable): number {
  let touched = 0
  for (let page = 0; page < PAGES; page++) if ((frames.entry(page) & (Frame.ZERO | Frame.ABSENT)) === 0) touched++
  return touched * PAGE_SIZE
}

it('knows what was touched after whatever happens to its flags', () => {
  const frames = new FrameTable(new ArrayBuffer(PAGES * 4), { tableBase: 0, framesBase: PAGE_SIZE, ramBytes: PAGES * PAGE_SIZE })
  const flags = [Frame.ABSENT, Frame.ZERO, Frame.SHARED, Frame.DIRTY, Frame.CODE, Frame.ABSENT | Frame.ZERO]
  const acts: ((page: number, flag: number) => void)[] = [
    (page, flag) => frames.setFlags(page, flag),
    (page, flag) => frames.clearFlags(page, flag),
    (page, flag) => frames.resetFlags(page, Frame.PRESENT | flag),
    (page) => frames.markWritten(page),
    (_, flag) => frames.clearAll(flag),
    () => void frames.takeWritten(),
  ]
  expect(frames.touchedBytes()).toBe(0)
  let seen = 0
  let random = 12345
  const below = (limit: number): number => ((random = (Math.imul(random, 1103515245) + 12345) >>> 0) >>> 8) % limit
  for (let i = 0; i < 5000; i++) {
    // What changes every page is rare, or there would be little to count.
    acts[below(100) < 2 ? 4 + below(2) : below(4)](below(PAGES), flags[below(flags.length)])
    expect(frames.touchedBytes()).toBe(counted(frames))
    seen = Math.max(seen, frames.touchedBytes())
  }
  expect(seen).toBeGreaterThan(8 * PAGE_SIZE)
})

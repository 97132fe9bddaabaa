import { getHeapStatistics } from 'node:v8'
import { afterEach, expect, it, vi } from 'vitest'
import { IdleMemory } from './idle-memory'

const QUIET_MS = 50

afterEach(() => vi.useRealTimers())

it('collects once, after enough work and a quiet while', () => {
  vi.useFakeTimers()
  let collected = 0
  const memory = new IdleMemory(3, () => collected++, QUIET_MS)
  memory.worked()
  memory.worked()
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect(collected).toBe(0)
  for (let i = 0; i < 20; i++) {
    memory.worked()
    vi.advanceTimersByTime(QUIET_MS - 1)
  }
  expect(collected).toBe(0)
  vi.advanceTimersByTime(1)
  expect(collected).toBe(1)
  memory.worked()
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect(collected).toBe(1)
})

it('gives the garbage of this thread back', async () => {
  const memory = new IdleMemory(1, undefined, QUIET_MS)
  const kept = Array.from({ length: 400_000 }, (_, i) => ({ i }))
  const before = getHeapStatistics().used_heap_size
  kept.length = 0
  memory.worked()
  await vi.waitFor(() => expect(before - getHeapStatistics().used_heap_size).toBeGreaterThan(8e6), { timeout: 10_000 })
})

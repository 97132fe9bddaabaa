import { getHeapStatistics } from 'node:v8'
import { afterEach, expect, it, vi } from 'vitest'
import { IdleMemory } from './idle-memory'

const QUIET_MS = 50

afterEach(() => vi.useRealTimers())

it('collects once, after enough work and a quiet while', () => {
  vi.useFakeTimers()
  let collected = 0
  let rested = 0
  const memory = new IdleMemory({ worth: 3, stray: 0, collect: () => collected++, rest: () => rested++, quietMs: QUIET_MS })
  memory.worked()
  memory.worked()
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect([collected, rested]).toEqual([0, 1])
  for (let i = 0; i < 20; i++) {
    memory.worked()
    vi.advanceTimersByTime(QUIET_MS - 1)
  }
  expect(collected).toBe(0)
  vi.advanceTimersByTime(1)
  expect(collected).toBe(1)
  memory.worked()
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect([collected, rested]).toEqual([1, 3])
})

it('a while with a few stray pieces of work is a quiet one, a while with one more is not', () => {
  vi.useFakeTimers()
  const stray = 2
  let collected = 0
  const memory = new IdleMemory({ worth: 10, stray, collect: () => collected++, quietMs: QUIET_MS })
  const spread = (pieces: number): void => {
    for (let i = 0; i < pieces; i++) {
      memory.worked()
      vi.advanceTimersByTime(QUIET_MS / pieces)
    }
  }
  for (let i = 0; i < 10; i++) memory.worked()
  for (let i = 0; i < 20; i++) spread(stray + 3)
  expect(collected).toBe(0)
  spread(stray)
  spread(stray)
  expect(collected).toBe(1)
})

it('says once that there is work again, after it collected, and not of stray pieces', () => {
  vi.useFakeTimers()
  const said: string[] = []
  const memory = new IdleMemory({ worth: 5, stray: 2, collect: () => said.push('collect'), awake: () => said.push('awake'), quietMs: QUIET_MS })
  const work = (): void => {
    for (let i = 0; i < 20; i++) {
      memory.worked()
      vi.advanceTimersByTime(QUIET_MS / 5)
    }
  }
  work()
  expect(said).toEqual([])
  vi.advanceTimersByTime(2 * QUIET_MS)
  expect(said).toEqual(['collect'])
  memory.worked()
  vi.advanceTimersByTime(2 * QUIET_MS)
  expect(said).toEqual(['collect'])
  work()
  expect(said).toEqual(['collect', 'awake'])
  vi.advanceTimersByTime(2 * QUIET_MS)
  expect(said).toEqual(['collect', 'awake', 'collect'])
})

it('waits a while longer for what is not finished', () => {
  vi.useFakeTimers()
  let ready = false
  let collected = 0
  const memory = new IdleMemory({ worth: 1, collect: () => collected++, ready: () => ready, quietMs: QUIET_MS })
  memory.worked()
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect(collected).toBe(0)
  ready = true
  vi.advanceTimersByTime(QUIET_MS)
  expect(collected).toBe(1)
})

it('what stirs without work rests once after the same while, however often it stirs', () => {
  vi.useFakeTimers()
  let rested = 0
  const memory = new IdleMemory({ worth: 1, collect: () => expect.unreachable(), rest: () => rested++, quietMs: QUIET_MS })
  for (let ms = 0; ms < QUIET_MS; ms += QUIET_MS / 10) {
    memory.stirred()
    vi.advanceTimersByTime(QUIET_MS / 10)
  }
  expect(rested).toBe(1)
  vi.advanceTimersByTime(3 * QUIET_MS)
  expect(rested).toBe(1)
})

it('gives the garbage of this thread back', async () => {
  const memory = new IdleMemory({ worth: 1, quietMs: QUIET_MS })
  const kept = Array.from({ length: 400_000 }, (_, i) => ({ i }))
  const before = getHeapStatistics().used_heap_size
  kept.length = 0
  memory.worked()
  await vi.waitFor(() => expect(before - getHeapStatistics().used_heap_size).toBeGreaterThan(8e6), { timeout: 10_000 })
})

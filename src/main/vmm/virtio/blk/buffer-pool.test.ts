import { describe, expect, it } from 'vitest'
import { BufferPool } from './buffer-pool'

describe('BufferPool', () => {
  it('gives exactly what is asked for, and nobody the buffer another has', () => {
    const pool = new BufferPool()
    const taken = [1, 4096, 4097, 100_000, 1 << 20].map((length) => pool.take(length))
    expect(taken.map(({ length }) => length)).toEqual([1, 4096, 4097, 100_000, 1 << 20])
    expect(new Set(taken.map(({ buffer }) => buffer)).size).toBe(5)
  })

  it('uses again what was given back, whatever its length was', () => {
    const pool = new BufferPool()
    const first = pool.take(5000)
    pool.give(first)
    const again = pool.take(8192)
    expect(again.buffer).toBe(first.buffer)
    expect(pool.take(8192).buffer).not.toBe(first.buffer)
  })

  it('keeps none that was given back before a release', () => {
    const pool = new BufferPool()
    const [given, held] = [pool.take(4096), pool.take(4096)]
    pool.give(given)
    pool.release()
    expect(pool.take(4096).buffer).not.toBe(given.buffer)
    pool.give(held)
    expect(pool.take(4096).buffer).toBe(held.buffer)
  })

  it('keeps no more than a few', () => {
    const pool = new BufferPool()
    const taken = Array.from({ length: 6 }, () => pool.take(4 << 20))
    for (const buffer of taken) pool.give(buffer)
    const again = new Set(Array.from({ length: 6 }, () => pool.take(4 << 20).buffer))
    expect(taken.filter(({ buffer }) => again.has(buffer))).toHaveLength(4)
  })
})

import { beforeEach, describe, expect, it } from 'vitest'
import { HotQueue } from './hot-queue'

const MS = 1e6

describe('what waits to be translated', () => {
  let now: number
  let left: Map<number, number>
  let queue: HotQueue
  const run = (head: number, entries: number): void => void left.set(head, (left.get(head) ?? 0) - entries)

  beforeEach(() => {
    now = 0
    left = new Map()
    queue = new HotQueue({ batch: 2, entriesLeft: (head) => left.get(head) ?? 0, now: () => now })
  })

  it('is taken in the order of what ran most, a batch at a time', () => {
    for (const head of [32, 64, 96]) queue.addBlock(head)
    run(32, 10)
    run(64, 1000)
    run(96, 100)
    expect(queue.takeBatch(1).blocks).toEqual([64, 96])
    expect(queue.takeBatch(1).blocks).toEqual([32])
    expect(queue.isEmpty).toBe(true)
  })

  it('is judged by what ran since the last time, not by what ran long ago', () => {
    for (const head of [32, 64, 96, 128]) queue.addBlock(head)
    run(32, 5000)
    run(64, 4000)
    run(96, 6000)
    run(128, 7000)
    expect(queue.takeBatch(1).blocks).toEqual([128, 96])
    queue.addBlock(160)
    run(64, 100)
    run(160, 50)
    expect(queue.takeBatch(1).blocks).toEqual([64, 160])
  })

  it('is more at once where batches are to be larger, and all of it where nobody waits', () => {
    for (const head of [32, 64, 96, 128, 160]) queue.addBlock(head)
    expect(queue.takeBatch(1.5).blocks).toHaveLength(3)
    expect(queue.takeAll().blocks).toHaveLength(2)
  })

  it('has loops in their order, but those reported again first', () => {
    const heads = [32, 64, 96, 128, 160]
    expect(heads.map((head) => queue.addLoop(head))).toEqual(heads.map(() => true))
    expect(queue.addLoop(160)).toBe(false)
    expect(queue.takeBatch(1).loops).toEqual([160, 32, 64, 96])
    expect(queue.takeBatch(1).loops).toEqual([128])
  })

  it('is full where a batch is together, of blocks or of loops', () => {
    queue.addBlock(32)
    expect(queue.isFull(1)).toBe(false)
    queue.addBlock(64)
    expect([queue.isFull(1), queue.isFull(1.1)]).toEqual([true, false])
    queue.clear()
    for (const head of [32, 64, 96]) queue.addLoop(head)
    expect(queue.isFull(1)).toBe(false)
    queue.addLoop(128)
    expect(queue.isFull(1)).toBe(true)
  })

  it('waits for company since the first of it came, longer where batches are to be larger', () => {
    queue.addBlock(32)
    now = 20 * MS
    queue.addLoop(64)
    now = 29 * MS
    expect(queue.isOverdue(1)).toBe(false)
    now = 30 * MS
    expect([queue.isOverdue(1), queue.isOverdue(1.1)]).toEqual([true, false])
    queue.clear()
    expect([queue.isEmpty, queue.waitedNs, queue.isOverdue(1)]).toEqual([true, 0, false])
  })

  it('does not wait for company where a block ran on for long, or a loop was reported again', () => {
    queue.addBlock(32)
    queue.addLoop(64)
    now = 2 * MS
    run(32, 199_999)
    expect(queue.isOverdue(1)).toBe(false)
    run(32, 1)
    expect(queue.isOverdue(1)).toBe(true)
    queue.clear()
    queue.addLoop(64)
    queue.addLoop(64)
    now = 4 * MS
    expect(queue.isOverdue(1)).toBe(true)
    queue.takeBatch(1)
    queue.addLoop(64)
    now = 6 * MS
    expect(queue.isOverdue(1)).toBe(false)
  })
})

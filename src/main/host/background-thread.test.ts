import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { NodeBackgroundThread } from './background-thread'

const folder = mkdtempSync(join(tmpdir(), 'nestbox-thread-'))
const program = join(folder, 'counter.cjs')

/** Answers each message with how many it has got; dies of 'die'. */
const COUNTER = `let count = 0
require('node:worker_threads').parentPort.on('message', (message) => {
  if (message === 'die') throw new Error('as told')
  require('node:worker_threads').parentPort.postMessage(++count)
})`

beforeAll(() => writeFileSync(program, COUNTER))
afterAll(() => rmSync(folder, { recursive: true }))

function listen(thread: NodeBackgroundThread): { readonly next: () => Promise<unknown>; readonly reasons: string[] } {
  const reasons: string[] = []
  let receive: (message: unknown) => void = () => undefined
  thread.onMessage((message) => receive(message))
  thread.onLost((reason) => {
    reasons.push(reason)
    receive('lost')
  })
  return { next: () => new Promise((resolve) => (receive = resolve)), reasons }
}

it('a thread that was ended begins anew with the next message, and is not lost', async () => {
  const thread = new NodeBackgroundThread(program)
  const { next, reasons } = listen(thread)
  for (const expected of [1, 2]) {
    const answer = next()
    thread.post('count')
    expect(await answer).toBe(expected)
  }
  thread.end()
  const answer = next()
  thread.post('count')
  expect(await answer).toBe(1)
  expect(reasons).toEqual([])
  thread.end()
})

it('a thread that died is lost, also to who asks later, and is not started again', async () => {
  const thread = new NodeBackgroundThread(program)
  const { next, reasons } = listen(thread)
  const lost = next()
  thread.post('die')
  expect(await lost).toBe('lost')
  expect(reasons).toEqual(['as told'])
  thread.end()
  const later: string[] = []
  thread.onLost((reason) => later.push(reason))
  expect(later).toEqual(['as told'])
})

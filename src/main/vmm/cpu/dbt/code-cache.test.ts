import { expect, it } from 'vitest'
import type { WasmTable } from '../../ports'
import type { BlockSource, DecodeCache } from '../interp/decode-cache'
import { CodeCache } from './code-cache'
import type { TranslationJob, TranslationThread } from './translation-job'
import type { Translator } from './translator'

const MANY = 60

function createTable(): WasmTable {
  const slots: unknown[] = ['tier 0']
  return { get length() { return slots.length }, get: (i) => slots[i], set: (i, value) => { slots[i] = value }, grow: (delta) => slots.push(...new Array<unknown>(delta)) }
}

class Thread implements TranslationThread {
  readonly jobs: TranslationJob[] = []
  readonly busy = false
  readonly unhurried = true
  resting = false
  readonly alive = true
  request(job: TranslationJob): void { this.jobs.push(job) }
  merge(): void { throw new Error('there is nothing to put together') }
}

/** Notes how many blocks it was asked for. */
class Asked {
  blocks = 0
  begin(): unknown {
    return { add: () => ++this.blocks, finish: () => new Uint8Array(1), functions: [] }
  }
}

/** A code cache whose only decoded block is at address 64. */
function createCache(background: Thread, now = () => 0, translator = new Asked()): CodeCache {
  const block = { head: 64, code: { modeKey: 0, page: 0 }, pageOffset: 0, records: [{ kind: 'insn' }] } as unknown as BlockSource
  const cache = { blockAt: (head: number) => (head === 64 ? block : undefined), isUntranslated: () => true, entriesLeft: () => 0 } as unknown as DecodeCache
  const wasm = { compile: () => ({}), instantiate: () => ({ exports: {} }), createTable, createMemory: () => { throw new Error('no memory is made') } }
  return new CodeCache({
    wasm, memory: {} as never, newTable: createTable, cache, translator: translator as unknown as Translator, batch: 1, now,
    hostOfPage: () => 0, surroundings: () => undefined, hotAfter: 1, regions: false, background,
  }, createTable())
}

it('code is translated also after a reset that left many modules with nothing in them', () => {
  const thread = new Thread()
  const code = createCache(thread)
  const slots = Array.from({ length: MANY }, () => code.load(new Uint8Array(1), 1))
  code.forgetAll(false)
  code.drop(slots)
  code.noteHot(64)
  code.translateHot()
  expect(thread.jobs.map(({ blocks }) => blocks.map(({ head }) => head))).toEqual([[64]])
})

it('code is translated where many small modules cannot be put together, their functions being unknown', () => {
  const thread = new Thread()
  const code = createCache(thread)
  for (let i = 0; i < MANY; i++) code.load(new Uint8Array(1), 1)
  code.noteHot(64)
  code.translateHot()
  expect(thread.jobs).toHaveLength(1)
})

it.each([[0.5e9, 1, 0], [2e9, 0, 1]])('a batch gathered in %d ns while the thread rests: %d for the thread, %d done here', (gatheredIn, asked, here) => {
  const thread = new Thread()
  const translator = new Asked()
  let now = 1e9
  const code = createCache(thread, () => now, translator)
  thread.resting = true
  code.noteHot(64)
  now += gatheredIn
  code.translateHot()
  expect([thread.jobs.length, translator.blocks]).toEqual([asked, here])
})

it('a batch gathered slowly is for the thread where that runs anyway', () => {
  const thread = new Thread()
  let now = 1e9
  const code = createCache(thread, () => now)
  code.noteHot(64)
  now += 5e9
  code.translateHot()
  expect(thread.jobs).toHaveLength(1)
})

/**
 * Jobs and results as they go between threads: a few arrays of numbers and bytes. Cloning an object for every record of every
 * block took longer than translating them.
 */
import type { BlockRecord } from '../interp/decode-cache'
import type { NearPage } from './code-window'
import type { CodeBlock, CompiledResult, RegionHead, TranslationJob } from './translation-job'
import { decodePack, encodePack } from './translation-pack'

const KINDS: readonly BlockRecord['kind'][] = ['insn', 'next', 'other']

/** Numbers of blocks and of regions, then each: head, mode key, host, page offset, records; a region's linear page and pages behind it. */
export type JobMessage = Int32Array

/** Functions to be put into one module, as a pack. The answer is the module. */
export interface MergeMessage { readonly functions: Uint8Array }

export const isMerge = (message: unknown): message is MergeMessage => typeof message === 'object' && message !== null && 'functions' in message

/** The functions as a pack (see `translation-pack.ts`). */
export type ResultMessage = Omit<CompiledResult, 'functions'> & { readonly pack: Uint8Array }

export function encodeJob({ blocks, regions }: TranslationJob): JobMessage {
  const words: number[] = [blocks.length, regions.length]
  const put = ({ head, modeKey, host, pageOffset, records }: CodeBlock): void => {
    words.push(head, modeKey, host, pageOffset, records.length)
    for (const { offset, kind, delta, count } of records) words.push(offset, KINDS.indexOf(kind), delta, count)
  }
  blocks.forEach(put)
  for (const region of regions) {
    put(region)
    words.push(region.linearPage, region.pages.length)
    for (const { delta, host, warm, went } of region.pages) words.push(delta, host, warm.length, ...warm, went.length, ...went)
  }
  return Int32Array.from(words)
}

export function decodeJob(words: JobMessage): TranslationJob {
  let at = 2
  const next = (): number => words[at++]
  const list = <T>(length: number, make: () => T): T[] => Array.from({ length }, make)
  const block = (): CodeBlock => ({
    head: next(), modeKey: next(), host: next(), pageOffset: next(),
    records: list(next(), () => ({ offset: next(), kind: KINDS[next()], delta: next(), count: next() })),
  })
  const blocks = list(words[0], block)
  const near = (): NearPage => ({ delta: next(), host: next(), warm: list(next(), next), went: list(next(), next) })
  const regions = list(words[1], (): RegionHead => ({ ...block(), linearPage: next(), pages: list(next(), near) }))
  return { blocks, regions }
}

export function encodeResult({ functions, ...rest }: CompiledResult): ResultMessage {
  return { ...rest, pack: encodePack(functions) }
}

export function decodeResult({ pack, ...rest }: ResultMessage): CompiledResult {
  return { ...rest, functions: decodePack(pack) }
}

import { describe, expect, it } from 'vitest'

interface Row {
  readonly name: string
  readonly peers: Readonly<Record<string, { readonly median?: number; readonly cpu?: number; readonly error?: string }>>
}

interface Statistics {
  median(numbers: readonly number[]): number | undefined
  geometricMean(numbers: readonly number[]): number | undefined
  summarize(samples: readonly number[]): { median: number; min: number; max: number; samples: number[] } | undefined
  ratio(row: Row, a: string, b: string, of?: 'median' | 'cpu'): number | undefined
  meanRatio(rows: readonly Row[], a: string, b: string): { mean?: number; missing: string[] }
  disagreement(results: Readonly<Record<string, readonly string[]>>): string | undefined
}

const load = async (file: string): Promise<unknown> => import(new URL(file, import.meta.url).href)
const { median, geometricMean, summarize, ratio, meanRatio, disagreement } = (await load('./statistics.mjs')) as Statistics

const row = (name: string, a: number, b: number): Row => ({ name, peers: { a: { median: a }, b: { median: b } } })

describe('figures of repeated measurements', () => {
  it('takes the middle, and the mean of two in the middle', () => {
    expect(median([5, 1, 3])).toBe(3)
    expect(median([10, 1, 3, 2])).toBe(2.5)
    expect(median([])).toBeUndefined()
  })

  it('does not sort numbers as words, nor change what it was given', () => {
    const samples = [9, 10, 100]
    expect(summarize(samples)).toEqual({ median: 10, min: 9, max: 100, samples: [9, 10, 100] })
    expect(summarize([])).toBeUndefined()
  })

  it('gives a twofold gain and a twofold loss the same weight', () => {
    expect(geometricMean([2, 0.5])).toBeCloseTo(1)
    expect(geometricMean([8, 1, 1])).toBeCloseTo(2)
    expect(geometricMean([])).toBeUndefined()
  })
})

describe('peers side by side', () => {
  it('divides medians, and only of peers that did not fail', () => {
    expect(ratio(row('x', 3, 2), 'a', 'b')).toBe(1.5)
    expect(ratio({ name: 'x', peers: { a: { median: 3, cpu: 2 }, b: { median: 1, cpu: 4 } } }, 'a', 'b', 'cpu')).toBe(0.5)
    expect(ratio(row('x', 3, 2), 'a', 'c')).toBeUndefined()
    expect(ratio({ name: 'x', peers: { a: { median: 3, error: 'hung' }, b: { median: 2 } } }, 'a', 'b')).toBeUndefined()
  })

  it('names the rows a mean leaves out', () => {
    const failed: Row = { name: 'hangs', peers: { a: { error: 'hung' }, b: { median: 1 } } }
    const { mean, missing } = meanRatio([row('x', 2, 1), row('y', 8, 1), failed], 'a', 'b')
    expect(mean).toBeCloseTo(4)
    expect(missing).toEqual(['hangs'])
  })

  it('does not miss a peer that has no such row at all', () => {
    expect(meanRatio([row('x', 2, 1), { name: 'only-a', peers: { a: { median: 1 } } }], 'a', 'b')).toEqual({ mean: 2, missing: [] })
  })

  it('finds a result that differs between peers or between runs of one', () => {
    expect(disagreement({ a: ['7', '7'], b: ['7'], c: [] })).toBeUndefined()
    expect(disagreement({ a: ['7', '7'], b: ['8'] })).toBe('a: 7; b: 8')
    expect(disagreement({ a: ['7', '9'] })).toBe('a: 7, 9')
  })
})

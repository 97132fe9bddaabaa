import { describe, expect, it } from 'vitest'
import { TranslationRest } from './translation-rest'

const MS = 1e6

/** A guest that wakes every `periodMs`, and what became of its translations. */
class Watched {
  readonly calls: string[] = []
  private nowNs = 0
  private readonly rest = new TranslationRest({ rest: () => this.calls.push('rest'), wake: () => this.calls.push('wake') })

  wakes(times: number, periodMs: number, instructions: number, ns: number): this {
    for (let i = 0; i < times; i++) {
      this.nowNs += periodMs * MS
      this.rest.ran(ns, instructions, true, this.nowNs)
    }
    return this
  }

  works(instructions: number): this {
    this.rest.ran(2 * MS, instructions, false, this.nowNs += 2 * MS)
    return this
  }
}

describe('resting translations', () => {
  it('rest after a second of ticks, once, and are back as soon as the guest works', () => {
    const guest = new Watched().wakes(240, 4, 3500, 0.2 * MS)
    expect(guest.calls).toEqual([])
    expect(guest.wakes(500, 4, 3500, 0.2 * MS).calls).toEqual(['rest'])
    expect(guest.works(40_000).calls).toEqual(['rest'])
    expect(guest.works(40_000).calls).toEqual(['rest', 'wake'])
    expect(guest.wakes(500, 4, 3500, 0.2 * MS).calls).toEqual(['rest', 'wake', 'rest'])
  })

  it('do not rest where the guest runs for a good part of the time, or much in small pieces', () => {
    expect(new Watched().wakes(3000, 1, 3000, 0.4 * MS).calls).toEqual([])
    expect(new Watched().wakes(3000, 1, 20_000, 0.1 * MS).calls).toEqual([])
  })

  it('are back where a guest that idled begins to wake more often', () => {
    const guest = new Watched().wakes(500, 4, 3500, 0.2 * MS)
    expect(guest.wakes(3000, 1, 20_000, 0.1 * MS).calls).toEqual(['rest', 'wake'])
  })
})

import { describe, expect, it } from 'vitest'
import { decodePack, encodePack, packed, TranslationIndex } from './translation-pack'
import type { TranslatedFunction } from './translator'

/** What a function says, however it is held. */
const said = ({ kind, modeKey, pageOffset, entries, shape, ranges, constants, body, hints }: TranslatedFunction): TranslatedFunction =>
  ({ kind, modeKey, pageOffset, entries, shape, ranges, constants, body, hints })

const code = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)

const block: TranslatedFunction = {
  kind: 'block', modeKey: 0x152, pageOffset: 0xff0, entries: [0xff0], shape: 'i0 i2 n5', ranges: [{ page: 0, offset: 0xff0, bytes: code(1, 2, 3, 4, 5) }], constants: [{ page: 0, offset: 0xff5 }], body: code(9, 8, 7), hints: code(),
}
const region: TranslatedFunction = {
  kind: 'region', modeKey: 0x152, pageOffset: 0x10, entries: [0x10, 0x20], shape: '', constants: [], body: code(6), hints: code(1, 5, 1, 0),
  ranges: [{ page: 0, offset: 0x10, bytes: code(0x90, 0x90) }, { page: 0, offset: 0x20, bytes: code(0xeb, 0xee) }],
}

describe('translation packs', () => {
  it('give back what was put in', () => {
    expect(decodePack(encodePack([block, region])).map(said)).toEqual([block, region])
    expect(encodePack(decodePack(encodePack([block, region])))).toEqual(encodePack([block, region]))
    expect(decodePack(encodePack([]))).toEqual([])
  })

  it('cut anywhere are refused', () => {
    const pack = encodePack([block, region])
    for (let length = 0; length < pack.length; length++) expect(() => decodePack(pack.slice(0, length)), `${length} bytes`).toThrow(/translation pack/)
  })

  it('with any byte changed are refused or read, never more', () => {
    const pack = encodePack([block, region])
    for (let at = 0; at < pack.length; at++) {
      const damaged = pack.slice()
      damaged[at] ^= 0xff
      try {
        for (const { ranges, pageOffset } of decodePack(damaged)) {
          expect(pageOffset).toBeLessThan(4096)
          for (const { offset, bytes } of ranges) expect(offset + bytes.length).toBeLessThanOrEqual(4096)
        }
      } catch (error) {
        expect(String(error)).toMatch(/translation pack/)
      }
    }
  })
})

describe('the index of translations', () => {
  const memory = new Uint8Array(2 * 4096)
  const host = 4096
  const index = new TranslationIndex()
  const known = packed([block, region])
  known.forEach((fn, i) => index.add(fn, 100 + i))
  const put = (fn: TranslatedFunction): void => { for (const { offset, bytes } of fn.ranges) memory.set(bytes, host + offset) }

  it('finds a block by its bytes and the layout of its records', () => {
    expect(index.find(0x152, 0xff0, memory, host, () => block.shape)).toBeUndefined()
    put(block)
    expect(index.find(0x152, 0xff0, memory, host, () => block.shape)?.slot).toBe(100)
    expect(index.find(0x152, 0xff0, memory, host, () => 'i0 n2')).toBeUndefined()
    expect(index.find(0x153, 0xff0, memory, host, () => block.shape)).toBeUndefined()
  })

  it('finds a region where every part of it is the same', () => {
    put(region)
    expect(index.find(0x152, 0x10, memory, host, () => '')?.slot).toBe(101)
    memory[host + 0x21] ^= 1
    expect(index.find(0x152, 0x10, memory, host, () => 'other')).toBeUndefined()
  })

  it('knows what it has', () => {
    const has = (fn: TranslatedFunction): boolean => index.has(packed([fn])[0])
    expect(has({ ...block, body: code(1), constants: [] })).toBe(true)
    expect(has({ ...block, ranges: [{ page: 0, offset: 0xff0, bytes: code(1, 2, 3, 4, 6) }] })).toBe(false)
    expect(has({ ...block, shape: 'i0 i2 n6' })).toBe(false)
    expect(has({ ...block, modeKey: 0x153 })).toBe(false)
    expect(has({ ...region, kind: 'block' })).toBe(false)
  })

  it('finds the first of several that fit, regions before blocks, by the slots they have now', () => {
    const memory = new Uint8Array(4096)
    const index = new TranslationIndex()
    const small: TranslatedFunction = { ...region, kind: 'block', shape: 'i0 n2', entries: [0x10], ranges: [{ page: 0, offset: 0x10, bytes: code(0x90, 0x90) }] }
    const further: TranslatedFunction = { ...region, ranges: [...region.ranges, { page: -1, offset: 0, bytes: code(0xc3) }] }
    packed([small, small, further, region, region]).forEach((fn, i) => index.add(fn, i))
    memory.set(code(0x90, 0x90), 0x10)
    const find = (): number | undefined => index.find(0x152, 0x10, memory, 0, () => 'i0 n2')?.slot
    expect(find()).toBe(0)
    memory.set(code(0xeb, 0xee), 0x20)
    expect(find()).toBe(3)
    expect(index.acrossPages(0x152, 0x10).map(({ slot, fn }) => [slot, said(fn)])).toEqual([[2, further]])
    expect(index.acrossPages(0x152, 0x20).map(({ slot }) => slot)).toEqual([2])
    index.move(new Map([[3, 7], [2, 9]]))
    expect(find()).toBe(7)
    expect(index.acrossPages(0x152, 0x10).map(({ slot }) => slot)).toEqual([9])
  })
})

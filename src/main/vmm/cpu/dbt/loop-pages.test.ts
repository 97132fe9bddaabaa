import { describe, expect, it } from 'vitest'
import { decodeLoopPages, encodeLoopPages, type LoopPage } from './loop-pages'
import { decodePack, encodePack, loopsOfPack } from './translation-pack'

const page = (first: number): LoopPage => ({
  modeKey: 0x116, linearPage: 0x8123_4000, bytes: Uint8Array.from({ length: 4096 }, (_, i) => (first + i) & 0xff),
  warm: [0, 0x10, 0xfff], hot: [0x10], went: [0x2c, -0x7edc_89ac, 0xff0, 0x40],
})

describe('pages with loops that wait for their regions', () => {
  it('come back as they were kept', () => {
    const pages = [page(1), page(2)]
    expect(decodeLoopPages(encodeLoopPages(pages))).toEqual(pages)
    expect(decodeLoopPages(new Uint8Array(0))).toEqual([])
  })

  it('stand behind the functions of a pack', () => {
    const pack = encodePack([], [page(3)])
    expect(decodePack(pack)).toEqual([])
    expect(loopsOfPack(pack)).toEqual([page(3)])
    expect(loopsOfPack(encodePack([]))).toEqual([])
  })

  it('cut anywhere are refused', () => {
    const bytes = encodeLoopPages([page(4)])
    for (let length = 1; length < bytes.length; length++) expect(() => decodeLoopPages(bytes.slice(0, length)), `${length} bytes`).toThrow(/pages of loops end/)
  })
})

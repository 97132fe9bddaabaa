import { beforeEach, describe, expect, it } from 'vitest'
import { InsnScanner } from '../decode/scanner'
import { isaRows } from '../isa'
import { offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { DecodeCache } from './decode-cache'
import { numberHandlers } from './handler-table'
import { ACCESS_SHIFT, ADDRESS_FIELDS, INDEX_BYTES, MAX_BLOCK, Place, PSEUDO_SLOTS, Rec, RECORD_SIZE } from './record'

const LONG = Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.FLAT
const CACHE_AT = 0x1000
const CACHE_BYTES = 0x2_0000
const CODE_AT = 0x3_0000
const PAGE = 7
const handlers = numberHandlers(isaRows)
const scanner = new InsnScanner(isaRows, () => true)

let view: DataView
let bytes: Uint8Array
let cache: DecodeCache

beforeEach(() => {
  const buffer = new ArrayBuffer(0x4_0000)
  view = new DataView(buffer)
  bytes = new Uint8Array(buffer)
  cache = new DecodeCache({
    buffer, base: CACHE_AT, bytes: CACHE_BYTES, scanner, slots: { ...PSEUDO_SLOTS, of: (form) => handlers.of(form) }, hotAfter: 100,
    onDecoded: () => {}, onDropping: () => undefined, onDropped: () => {},
  })
})

/** Puts code at a page offset and decodes the block there. Returns the record behind the head. */
function decode(offset: number, code: string): number {
  bytes.set(code.split(' ').map((byte) => parseInt(byte, 16)), CODE_AT + offset)
  const head = cache.decodeBlock(cache.page(PAGE, LONG), CODE_AT, offset, bytes, false)
  if (head === 'crosses') throw new Error('the block crosses its page')
  return head + RECORD_SIZE
}

describe('records', () => {
  describe('go to the switch', () => {
    const isCase = (slot: number): boolean => slot >= PSEUDO_SLOTS.frequent && slot < PSEUDO_SLOTS.frequent + handlers.frequent.length

    it('for frequent forms, whatever their segment and address size', () => {
      const slotOf = (code: string): number => view.getUint16(decode(0, code) + Rec.handler, true)
      expect(['48 8b 43 08', '48 89 d8', '74 00', '65 48 8b 43 08', '67 48 8b 43 08'].map((code) => isCase(slotOf(`${code} c3`)))).toEqual(new Array(5).fill(true))
      expect(['66 8b 43 08', '0f a2'].map((code) => isCase(slotOf(`${code} c3`)))).toEqual([false, false])
    })

    it('from 32-bit code where segments are flat, with checks left to FS and GS', () => {
      const record = (modeKey: number, code: string): number => cache.decodeOnce(Uint8Array.from(Buffer.from(code.replaceAll(' ', ''), 'hex')), 15, modeKey, true)
      const found = (modeKey: number, code: string): [boolean, number, number] => {
        const at = record(modeKey, code)
        const access = view.getUint8(at + Rec.access) << ACCESS_SHIFT
        return [isCase(view.getUint16(at + Rec.handler, true)), (access >> Place.checked) & 1, (access >> Place.addressSize) & 3]
      }
      const flat = Mode.PROTECTED | Mode.CODE32 | Mode.FLAT
      expect(found(flat, '8b 43 08')).toEqual([true, 0, 0])
      expect(found(flat, '50')).toEqual([true, 0, 3])
      expect(found(flat, '64 8b 43 08')).toEqual([true, 1, 2])
      expect(found(flat, '67 8b 47 08')).toEqual([true, 0, 1])
      expect(found(flat, '2e 8b 43 08')).toEqual([true, 1, 2])
      expect(found(Mode.PROTECTED | Mode.CODE32, '8b 43 08')).toEqual([false, 1, 2])
    })
  })

  it('hold 64-bit constants whole and narrower ones in 32 bits', () => {
    const wide = decode(0, '48 B8 01 02 03 04 05 06 07 88 C3')
    expect(view.getBigUint64(wide + Rec.imm, true)).toBe(0x8807060504030201n)
    const address = decode(0x40, '48 A1 01 02 03 04 05 06 07 88 C3')
    expect(view.getBigUint64(address + Rec.imm, true)).toBe(0x8807060504030201n)
    const both = decode(0x80, '48 81 43 F0 FE FF FF FF C3')
    expect(view.getInt32(both + Rec.imm, true)).toBe(-2)
    expect(view.getInt32(both + Rec.displacement, true)).toBe(-16)
    const enter = decode(0xc0, 'C8 34 12 05 C3')
    expect(view.getInt32(enter + Rec.imm, true)).toBe(0x1234)
    expect(view.getInt32(enter + Rec.displacement, true)).toBe(5)
  })

  it('address relative to RIP from the head of the block, also where that takes more than 32 bits', () => {
    const first = decode(0, '90 8B 05 00 00 00 80 C3')
    const low = first + RECORD_SIZE
    expect(view.getInt32(low + Rec.displacement, true)).toBe(-0x8000_0000 + 7)
    const index = (rec: number): number => offsetOf(ADDRESS_FIELDS) + (view.getUint8(rec + Rec.index) & INDEX_BYTES)
    expect(offsetOf(ADDRESS_FIELDS) + view.getUint8(low + Rec.base)).toBe(offsetOf('blockRip'))
    expect(index(low)).toBe(offsetOf('zero'))
    const high = decode(0x40, '8B 05 FF FF FF 7F C3')
    expect(index(high)).toBe(offsetOf('mask16'))
    expect(view.getInt32(high + Rec.displacement, true) + 0xffff).toBe(0x7fff_ffff + 6)
  })

  it('name registers by their distance from the first of their kind', () => {
    const low = decode(0, '88 E5 44 88 ED 0F 28 D1 0F FC D1 C3')
    const fields = (rec: number): number[] => [view.getUint8(rec + Rec.regA), view.getUint8(rec + Rec.regB)]
    expect(fields(low)).toEqual([1, 8 + 1])
    expect(fields(low + RECORD_SIZE)).toEqual([8 * 13, 8 * 5])
    expect(fields(low + 2 * RECORD_SIZE)).toEqual([16 * 2, 16 * 1])
    expect(fields(low + 3 * RECORD_SIZE)).toEqual([16 * 2, 16 * 1])
  })

  it('name base and index registers by their distance from what is in the place of none', () => {
    const register = (n: number): number => offsetOf('gpr', n) - offsetOf(ADDRESS_FIELDS)
    const address = (code: string): number[] => {
      const rec = decode(0, code)
      return [view.getUint8(rec + Rec.base), view.getUint8(rec + Rec.index) & INDEX_BYTES, view.getUint8(rec + Rec.index) & 3]
    }
    expect(address('48 8B 03 C3')).toEqual([register(3), 0, 0])
    expect(address('4B 8B 04 F7 C3')).toEqual([register(15), register(14), 3])
    expect(address('48 8B 04 25 00 10 00 00 C3')).toEqual([0, 0, 0])
  })

  it('say where they stand, in the longest block of the longest instructions too', () => {
    const longest = '48 81 84 88 00 00 00 00 00 00 00 00'
    const first = decode(0, `${`2e 2e 2e ${longest} `.repeat(MAX_BLOCK)}C3`)
    const { records } = cache.blockAt(first - RECORD_SIZE) ?? { records: [] }
    expect(records.map(({ kind, delta, count }) => [kind, delta, count])).toEqual([
      ...Array.from({ length: MAX_BLOCK }, (_, i) => ['insn', 15 * i, i + 1]), ['next', 15 * MAX_BLOCK, MAX_BLOCK],
    ])
    expect((view.getUint32(first + Rec.place, true) >>> Place.length) & 15).toBe(15)
  })
})

describe('a block', () => {
  it('goes on behind what mostly changes neither mode nor mappings, and ends behind what may', () => {
    const lengthOf = (code: string): number | undefined => {
      const first = decode(0x200, code)
      const count = cache.blockAt(first - RECORD_SIZE)?.records.length
      cache.invalidate(PAGE, 0x200, 16)
      return count
    }
    expect(lengthOf('8e d8 9d fb 8e c0 c3')).toBe(5)
    expect(lengthOf('0f a1 0f a9 c3')).toBe(3)
    expect(lengthOf('90 0f 22 d8 90 c3')).toBe(2)
    expect(lengthOf('f4 c3')).toBe(1)
  })
})

describe('the map of a page', () => {
  it('finds the blocks that begin in it, in every line', () => {
    const code = cache.page(PAGE, LONG)
    const heads = [0, 1, 63, 64, 4000].map((offset) => [offset, decode(offset, 'C3') - RECORD_SIZE])
    for (const [offset, head] of heads) expect(cache.recordAt(code, offset)).toBe(head)
    expect([2, 62, 65, 3999, 4095].map((offset) => cache.recordAt(code, offset))).toEqual([0, 0, 0, 0, 0])
    expect(cache.warmHeads(code, 0)).toEqual([0, 1, 63, 64, 4000])
    expect(cache.warmHeads(code, 1)).toEqual([])
  })

  it('finds several in a line, and none beside them', () => {
    const code = cache.page(PAGE, LONG)
    const heads = [32, 35, 47].map((offset) => [offset, decode(offset, 'C3') - RECORD_SIZE])
    for (const [offset, head] of heads) expect(cache.recordAt(code, offset)).toBe(head)
    expect([31, 33, 46, 48].map((offset) => cache.recordAt(code, offset))).toEqual([0, 0, 0, 0])
    cache.invalidate(PAGE, 32, 1)
    expect([32, 35, 47].map((offset) => cache.recordAt(code, offset))).toEqual([0, 0, 0])
    const again = decode(35, '90 C3') - RECORD_SIZE
    expect([32, 35, 47].map((offset) => cache.recordAt(code, offset))).toEqual([0, again, 0])
  })

  it('forgets them when decoded bytes are written, and takes new ones', () => {
    const code = cache.page(PAGE, LONG)
    const head = decode(10, '90 C3') - RECORD_SIZE
    expect(cache.blockAt(head)).toMatchObject({ head, code, pageOffset: 10, records: [{ kind: 'insn', delta: 0 }, { kind: 'insn', delta: 1 }] })
    expect(cache.invalidate(PAGE, 200, 4)).toBe(false)
    expect(cache.invalidate(PAGE, 11, 1)).toBe(true)
    expect(cache.recordAt(code, 10)).toBe(0)
    expect(cache.blockAt(head)).toBeUndefined()
    const again = decode(10, '40 C3') - RECORD_SIZE
    expect(cache.recordAt(code, 10)).toBe(again)
    expect(cache.blockAt(head)).toBeUndefined()
  })

  it('belongs to one mode, and drops instructions that end in another page with it', () => {
    const code = cache.page(PAGE, LONG)
    const legacy = cache.page(PAGE, Mode.PROTECTED | Mode.CODE32)
    const head = decode(5, 'C3') - RECORD_SIZE
    expect(cache.recordAt(legacy, 5)).toBe(0)
    const guard = cache.decodeCrossing(code, 4095, Uint8Array.of(0x48, 0x90, ...new Array<number>(28).fill(0)), PAGE + 1, false)
    expect(cache.recordAt(code, 4095)).toBe(guard)
    expect(cache.secondPage(guard)).toBe(PAGE + 1)
    cache.invalidate(PAGE + 1, 0, 1)
    expect(cache.recordAt(code, 4095)).toBe(0)
    expect(cache.recordAt(code, 5)).toBe(head)
  })
})

import { describe, expect, it } from 'vitest'
import type { DecodedInsn } from '../decode/types'
import { Mode } from '../state/mode'
import { OwnConstants, withoutConstants } from './own-constants'

const code = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes)
const insn = (length: number): DecodedInsn => ({ length }) as DecodedInsn
/** mov qword [rbx - 0x7edc89ac], 0xffffffff81237654; then the same with equal constants. */
const MOV = code(0x48, 0xc7, 0x83, 0x54, 0x76, 0x23, 0x81, 0x18, 0, 0x23, 0x81)
const SAME = code(0x48, 0xc7, 0x83, 0x54, 0x76, 0x23, 0x81, 0x54, 0x76, 0x23, 0x81)
const of = (modeKey: number, bytes: Uint8Array): OwnConstants => new OwnConstants(modeKey, () => bytes)
const MARK = -0x7edc89acn
const OTHER = -0x7edcffe8n

describe('constants that may be other ones at the next boot', () => {
  it('are found in their instruction, each once', () => {
    const constants = of(Mode.CODE64, MOV)
    expect([constants.indexOf(0x100, insn(11), MARK, 64), constants.indexOf(0x100, insn(11), OTHER, 64), constants.indexOf(0x100, insn(11), MARK, 64)]).toEqual([0, 1, 0])
    expect(constants.places).toEqual([{ page: 0, offset: 0x103 }, { page: 0, offset: 0x107 }])
    expect(constants.within([0x100])).toEqual(constants.places)
    expect(constants.within([0x104])).toEqual([])
  })

  it('stand in a page of their own, before the head\'s too', () => {
    const constants = of(Mode.CODE64, MOV)
    constants.indexOf(-0x1000, insn(11), MARK, 64)
    expect(constants.places).toEqual([{ page: -1, offset: 3 }])
    expect(constants.indexOf(0xffb, insn(11), MARK, 64)).toBeUndefined()
  })

  it('are no others: where bytes are ambiguous, of user code, small, masks, elsewhere', () => {
    expect(of(Mode.CODE64, SAME).indexOf(0, insn(11), MARK, 64)).toBeUndefined()
    expect(of(Mode.CODE64 | Mode.USER, MOV).indexOf(0, insn(11), MARK, 64)).toBeUndefined()
    expect(of(Mode.CODE64, MOV).indexOf(0, insn(11), MARK, 16)).toBeUndefined()
    expect(of(Mode.CODE64, MOV).indexOf(0, insn(11), -0x80000000n, 64)).toBeUndefined()
    expect(of(Mode.CODE64, MOV).indexOf(0, insn(11), 0x81237654n, 64)).toBeUndefined()
    expect(of(Mode.CODE32, MOV).indexOf(0, insn(11), MARK, 32)).toBeUndefined()
    expect(of(0, MOV).indexOf(0, insn(11), MARK, 32)).toBeUndefined()
  })

  it('are addresses with many zeros, but no masks', () => {
    const aligned = code(0x48, 0x3d, 0, 0, 0x40, 0xaf)
    expect(of(Mode.CODE64, aligned).indexOf(0, insn(6), -0x50c00000n, 64)).toBe(0)
    expect(of(Mode.CODE64, code(0x48, 0x3d, 0, 0, 0, 0xa0)).indexOf(0, insn(6), -0x60000000n, 64)).toBeUndefined()
  })

  it('are distances to what does not move, of any size, in supervisor code', () => {
    // inc dword gs:[rip + 0x20207594]
    const percpu = code(0x65, 0xff, 0x05, 0x94, 0x75, 0x20, 0x20)
    const constants = of(Mode.CODE64, percpu)
    expect(constants.indexOfDistance(0x100, insn(7), 0x20207594n)).toBe(0)
    expect(constants.places).toEqual([{ page: 0, offset: 0x103 }])
    expect(of(Mode.CODE64 | Mode.USER, percpu).indexOfDistance(0x100, insn(7), 0x20207594n)).toBeUndefined()
  })

  it('of a 32-bit kernel are addresses from 3 GiB on', () => {
    expect(of(Mode.CODE32, code(0xb8, 0x54, 0x76, 0x23, 0xc1)).indexOf(0, insn(5), 0xc1237654n, 32)).toBe(0)
  })

  it('are left out of ranges', () => {
    const range = { page: 0, offset: 0x100, bytes: MOV }
    const places = [{ page: 0, offset: 0x107 }, { page: 0, offset: 0x103 }]
    expect(withoutConstants([range], places)).toEqual([{ page: 0, offset: 0x100, bytes: MOV.slice(0, 3) }])
    expect(withoutConstants([range], [places[1]])).toEqual([{ page: 0, offset: 0x100, bytes: MOV.slice(0, 3) }, { page: 0, offset: 0x107, bytes: MOV.slice(7) }])
    expect(withoutConstants([range], [{ page: 1, offset: 0x103 }, { page: 0, offset: 0xfe }])).toEqual([range])
  })
})

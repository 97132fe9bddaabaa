import { describe, expect, it } from 'vitest'
import { isaRows } from '../isa'
import { Mode } from '../state/mode'
import { createDecoder } from './decode'
import { listBlock } from './disassemble'

const decode = createDecoder(isaRows, () => true)
const LONG = Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.FLAT
const texts = (bytes: number[], at = 0x1000n): string[] => listBlock(decode, Uint8Array.from(bytes), at, LONG, true).map(({ text }) => text)

// Operands of every row are held against objdump in tests/isa/disassemble-objdump.test.ts.
describe('listing a block', () => {
  it('goes to the end of the block and no further, with absolute addresses', () => {
    const code = Uint8Array.from([0x48, 0x98, 0xf0, 0x01, 0x43, 0x08, 0xf3, 0xa4, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0x75, 0xef, 0x90, 0xc3, 0x90])
    expect(listBlock(decode, code, 0xffff_ffff_8100_0000n, LONG, true).map(({ address, text }) => `${address.toString(16)} ${text}`)).toEqual([
      'ffffffff81000000 cdqe', 'ffffffff81000002 lock add dword ptr [rbx+0x8],eax', 'ffffffff81000006 rep movsb',
      'ffffffff81000008 mov rax,qword ptr [0xffffffff8100001f]', 'ffffffff8100000f jne 0xffffffff81000000',
    ])
  })

  it('says where there is no instruction, and leaves out one that was cut off', () => {
    expect(texts([0x90, 0x0f, 0x0b])).toEqual(['nop', 'ud2'])
    expect(texts([0x90, 0x06])).toEqual(['nop', '(undefined)'])
    expect(texts([0x90, 0x48, 0xb8, 1])).toEqual(['nop'])
  })
})

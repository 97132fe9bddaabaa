import { expect, it } from 'vitest'
import { CpuState } from '../state/access'
import { STATE_SIZE } from '../state/layout'
import { instructionBreakpoints, isRepeatedString, notePortBreakpoints } from './breakpoints'

it('tells enabled execution breakpoints, and lets RF suppress them', () => {
  const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  state.set64('dr', 0xffff_8000_0000_1000n, 1)
  state.set64('dr', 0xffff_8000_0000_1000n, 2)
  state.set64('dr', 0x400n, 7)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1000n)).toBe(0)
  // DR1 enabled; DR2 matches too but watches writes.
  state.set64('dr', 0x400n | (2n << 2n) | (1n << 24n), 7)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1000n)).toBe(2)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1001n)).toBe(0)
  state.set64('rflags', 0x1_0002n)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1000n)).toBe(0)
  state.set64('rflags', 2n)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1000n)).toBe(2)
})

it('knows the instructions that are left in the middle', () => {
  const is = (bytes: number[], is64 = false): boolean => isRepeatedString(Uint8Array.from(bytes), is64)
  expect([is([0xf3, 0xaa]), is([0x66, 0xf2, 0xae]), is([0xf3, 0x48, 0xa5], true)]).toEqual([true, true, true])
  expect([is([0xaa]), is([0xf3, 0x90]), is([0xf3, 0x48, 0xa5]), is([0xf3])]).toEqual([false, false, false, false])
})

it('notes ports only with CR4.DE, by length', () => {
  const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  state.set64('dr', 0x2f1n, 0)
  state.set64('dr', 0x402n | (2n << 16n) | (1n << 18n), 7)
  notePortBreakpoints(state, 0x2f0, 1)
  expect(state.get('pendingDebug')).toBe(0)
  state.set64('cr4', 8n)
  notePortBreakpoints(state, 0x2f2, 4)
  expect(state.get('pendingDebug')).toBe(0)
  notePortBreakpoints(state, 0x2ee, 4)
  expect(state.get('pendingDebug')).toBe(1)
})

import { expect, it } from 'vitest'
import { CpuState } from '../state/access'
import { STATE_SIZE } from '../state/layout'
import { instructionBreakpoints } from './breakpoints'

it('tells enabled execution breakpoints, and lets RF suppress them once', () => {
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
  expect(state.get64('rflags')).toBe(2n)
  expect(instructionBreakpoints(state, 0xffff_8000_0000_1000n)).toBe(2)
})

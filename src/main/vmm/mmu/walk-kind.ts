/** What the page walk of generated code (`tlb-fill.ts`) is told of the paging in force. Intel SDM vol. 3, 4.1. */
import type { CpuState } from '../cpu/state/access'
import { offsetOf } from '../cpu/state/layout'
import { CR0_PG, CR4_PAE, EFER_LMA, EFER_NXE, NX } from './paging-bits'

/** Values of `walkKind`. */
export const WalkKind = {
  /** TypeScript walks: no paging, PAE paging, or accesses that are looked at one by one. */
  NONE: 0,
  /** 32-bit paging. */
  TWO_LEVELS: 1,
  FOUR_LEVELS: 2,
} as const

const AT_CR0 = offsetOf('cr0')
const AT_CR4 = offsetOf('cr4')
const AT_EFER = offsetOf('efer')
const AT_WALK_KIND = offsetOf('walkKind')
const AT_WALK_RESERVED = offsetOf('walkReserved')

/** RAM ends below 4 GiB: entries that point above it, or have reserved address bits. */
const ABOVE_RAM = 0xf_ffff

function kindOf(view: DataView): number {
  if ((view.getInt32(AT_CR0, true) & CR0_PG) === 0) return WalkKind.NONE
  if ((view.getInt32(AT_CR4, true) & CR4_PAE) === 0) return WalkKind.TWO_LEVELS
  return (view.getInt32(AT_EFER, true) & EFER_LMA) === 0 ? WalkKind.NONE : WalkKind.FOUR_LEVELS
}

/** After every change of mode. @param withheld TLB entries are withheld from some pages: generated code must not fill them */
export function updateWalkKind({ view }: CpuState, withheld: boolean): void {
  view.setInt32(AT_WALK_KIND, withheld ? WalkKind.NONE : kindOf(view), true)
  view.setInt32(AT_WALK_RESERVED, (view.getInt32(AT_EFER, true) & EFER_NXE) === 0 ? ABOVE_RAM | NX : ABOVE_RAM, true)
}

/** How a machine's one linear memory is divided. All offsets in bytes; guest frames last, so that they can grow. */
import { VmmError } from '../errors'
import { PAGE_SIZE } from '../memory/frame-table'
import { CODE_TLB_BYTES, CODE_TLB_SETS, TLB_AREA_BYTES } from '../mmu/tlb-layout'
import { STATE_SIZE } from '../cpu/state/layout'
import type { VcpuLayout } from '../cpu/core/types'
import type { FrameTableLayout } from '../memory/frame-table'

export const WASM_PAGE = 65536
const MIB = 1 << 20

/**
 * Decoded code of one vCPU: a kernel's boot fits, and one of Debian with systemd empties it a few times. What it once took stays with the
 * machine's process, and what runs again is soon decoded again (decision 6, "Memory").
 */
const DECODE_CACHE_BYTES = 11 * MIB
/** wasm32 memory ends at 4 GiB; what is left under it is the engine's. */
export const MAX_MEMORY_MIB = 3072
export const MIN_MEMORY_MIB = 16

export interface LinearLayout {
  readonly vcpu: VcpuLayout
  readonly frames: FrameTableLayout
  /** Size of the whole memory in wasm pages. */
  readonly wasmPages: number
}

/** @throws VmmError `bad-config` where the guest memory is not within MIN_MEMORY_MIB … MAX_MEMORY_MIB */
export function planLinearMemory(memoryMiB: number): LinearLayout {
  if (!Number.isInteger(memoryMiB) || memoryMiB < MIN_MEMORY_MIB || memoryMiB > MAX_MEMORY_MIB) {
    throw new VmmError('bad-config', `memory must be a whole number of MiB from ${MIN_MEMORY_MIB} to ${MAX_MEMORY_MIB}, not ${memoryMiB}`)
  }
  // Address 0 stays unused: a record or page map at 0 means "none".
  let top = WASM_PAGE
  const take = (bytes: number): number => {
    const at = top
    top = Math.ceil((top + bytes) / PAGE_SIZE) * PAGE_SIZE
    return at
  }
  const ramBytes = memoryMiB * MIB
  const vcpu: VcpuLayout = {
    state: take(STATE_SIZE),
    tlb: take(TLB_AREA_BYTES),
    codeTlb: take(CODE_TLB_SETS * CODE_TLB_BYTES),
    decodeCache: take(DECODE_CACHE_BYTES),
    decodeCacheBytes: DECODE_CACHE_BYTES,
  }
  const tableBase = take((ramBytes / PAGE_SIZE) * 4)
  const framesBase = take(ramBytes)
  return { vcpu, frames: { tableBase, framesBase, ramBytes }, wasmPages: Math.ceil(top / WASM_PAGE) }
}

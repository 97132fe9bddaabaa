/** What generated code calls when the fast path does not do: TLB misses, MMIO, page-crossing and checked accesses. */
import type { IoHandler } from '../../bus/types'
import { PAGE_SIZE } from '../../memory/frame-table'
import { CpuFault, Vector } from '../core/context'
import { Slow } from '../core/exits'
import type { CpuLinearMemory } from '../core/linear'
import type { CpuState } from '../state/access'
import { offsetOf, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Translation } from '../../mmu/soft-tlb'

const AT_FAULT_VECTOR = offsetOf('faultVector')
const AT_FAULT_ERROR = offsetOf('faultError')
const AT_FAULT_HAS_ERROR = offsetOf('faultHasError')

/** Writes a fault where generated code and the run loop find it. */
export function notePendingFault(state: CpuState, fault: CpuFault): void {
  state.set('faultVector', fault.vector)
  state.set('faultError', fault.errorCode ?? 0)
  state.set('faultHasError', fault.errorCode === undefined ? 0 : 1)
}

export interface SegmentChecker {
  /** Linear address of seg:ea after limit and right checks. Throws CpuFault. */
  (segment: number, ea: bigint, bytes: number, write: boolean): bigint
}

export interface SlowImports {
  /** `access`: bytes | Seg index << 8. */
  load(cpu: number, lo: number, hi: number, access: number, slot: number): number
  store(cpu: number, lo: number, hi: number, access: number, slot: number): number
  probe(cpu: number, lo: number, hi: number, access: number, slot: number): number
  segment(cpu: number, segment: number, lo: number, hi: number, access: number): number
  unit(cpu: number, unit: number): number
  crossing(cpu: number, rec: number): number
  /** A block's entry count ran out. */
  hot(cpu: number, rec: number): number
  /** A jump back was taken often: the head it leads to. */
  loop(cpu: number, head: number): number
  /** `store` and `probe` of translated code. */
  tstore(cpu: number, lo: number, hi: number, access: number, slot: number): number
  tprobe(cpu: number, lo: number, hi: number, access: number, slot: number): number
}

export interface SlowPathOptions {
  readonly state: CpuState
  readonly memory: CpuLinearMemory
  readonly mmio: IoHandler
  readonly checkSegment: SegmentChecker
  /** Throws CpuFault where the unit (UNIT_CODE) is not available. */
  readonly checkUnit: (unit: number) => void
  /** 0: the second page is as decoded, 1: fault pending, 2: it changed. Does not throw. */
  readonly checkCrossing: (rec: number) => number
  readonly onHot: (rec: number) => void
  readonly onHotLoop: (head: number) => void
  /** True where bytes of a frame were decoded as code: the page number, and offset and length within it. */
  readonly holdsCode: (page: number, offset: number, length: number) => boolean
  /** Errors that are not the guest's: kept, and rethrown when the run loop is back. */
  readonly onError: (error: unknown) => void
}

export function createSlowPaths(options: SlowPathOptions): SlowImports {
  const { state, memory } = options
  const scratch = new DataView(state.view.buffer, state.base + offsetOf('scratch'), 64)

  const bytes = new Uint8Array(state.view.buffer)
  const whole = new DataView(state.view.buffer)
  const scratchAt = state.base + offsetOf('scratch')

  /** 1, 2, 4, 8 or 16 bytes within linear memory. */
  const copy = (from: number, to: number, length: number): void => {
    if (length === 1) bytes[to] = bytes[from]
    else if (length === 2) whole.setUint16(to, whole.getUint16(from, true), true)
    else for (let i = 0; i < length; i += 4) whole.setInt32(to + i, whole.getInt32(from + i, true), true)
  }

  const pendingPageFault = (): number => {
    const { view } = state
    view.setInt32(AT_FAULT_VECTOR, Vector.PF, true)
    view.setInt32(AT_FAULT_ERROR, memory.faultCode, true)
    view.setInt32(AT_FAULT_HAS_ERROR, 1, true)
    return Slow.FAULT
  }

  const holdsCodeAt = (gpa: number, length: number): boolean =>
    gpa >= 0 && options.holdsCode(Math.floor(gpa / PAGE_SIZE), gpa % PAGE_SIZE, length)

  /** Runs an access; a fault becomes a status, anything else stops the machine. */
  const guarded = (access: () => void, segment: number = Seg.DS): number => {
    try {
      access()
      return Slow.OK
    } catch (error) {
      // Linear accesses raise #GP only for non-canonical and wrapping addresses, which are #SS on the stack.
      const onStack = segment === Seg.SS && error instanceof CpuFault && error.vector === Vector.GP
      if (onStack) notePendingFault(state, new CpuFault(Vector.SS, 0))
      else if (error instanceof CpuFault) notePendingFault(state, error)
      else options.onError(error)
      return Slow.FAULT
    }
  }

  /**
   * An access over the end of a flat 4 GiB segment, the one limit violation that fast paths do not check; in 64-bit mode
   * one that runs out of the lower canonical half.
   */
  const checkWrap = (lo: number, hi: number, access: number): void => {
    if ((lo >>> 0) + (access & 0xff) <= 2 ** 32) return
    const is64 = (state.get('modeKey') & Mode.CODE64) !== 0
    if (is64 ? (hi | 0) === 0x7fff : state.get64('segBase', access >> 8) === 0n) throw new CpuFault(Vector.GP, 0)
  }

  const readInto = (lo: number, hi: number, bytes: number, slot: number): void => {
    const view = memory.currentView()
    const at = slot * 8
    if (bytes <= 2) scratch.setUint32(at, memory.readAt(lo, hi, bytes as 1 | 2, view), true)
    else {
      for (let i = 0; i < bytes; i += 4) {
        const address = (lo >>> 0) + i
        scratch.setUint32(at + i, memory.readAt(address >>> 0, address > 0xffff_ffff ? hi + 1 : hi, 4, view), true)
      }
    }
  }

  const writeFrom = (lo: number, hi: number, bytes: number, slot: number): void => {
    const view = memory.currentView()
    const at = slot * 8
    if (bytes > 4) memory.probeAt(lo, hi, bytes, true, view)
    if (bytes === 1) return memory.writeAt(lo, hi, 1, scratch.getUint8(at), view)
    if (bytes === 2) return memory.writeAt(lo, hi, 2, scratch.getUint16(at, true), view)
    for (let i = 0; i < bytes; i += 4) {
      const address = (lo >>> 0) + i
      memory.writeAt(address >>> 0, address > 0xffff_ffff ? hi + 1 : hi, 4, scratch.getUint32(at + i, true), view)
    }
  }

  /**
   * A store into code may change the running block, so translated code must not make it: tier 0 makes it instead, and sees
   * at its next record that its page was dropped. Both pages of a crossing access count.
   */
  const writesCode = (lo: number, hi: number, bytes: number): boolean => {
    const inFirst = Math.min(bytes, PAGE_SIZE - (lo & 0xfff))
    return memory.writesTo(lo, hi, inFirst, options.holdsCode) ||
      (inFirst < bytes && memory.writesTo(((lo >>> 0) + inFirst) >>> 0, hi, bytes - inFirst, options.holdsCode))
  }

  const long = {
    load: (lo: number, hi: number, access: number, slot: number) => guarded(() => {
      checkWrap(lo, hi, access)
      readInto(lo, hi, access & 0xff, slot)
    }, access >> 8),
    store: (lo: number, hi: number, access: number, slot: number) => guarded(() => {
      checkWrap(lo, hi, access)
      writeFrom(lo, hi, access & 0xff, slot)
    }, access >> 8),
    probe: (lo: number, hi: number, access: number, slot: number) => guarded(() => {
      checkWrap(lo, hi, access)
      memory.probeAt(lo, hi, access & 0xff, true, memory.currentView())
      readInto(lo, hi, access & 0xff, slot)
    }, access >> 8),
  }

  // A TLB miss or #PF within one page of RAM, which nearly all slow accesses are: no exception, no closure.

  const load = (_cpu: number, lo: number, hi: number, access: number, slot: number): number => {
    const bytes = access & 0xff
    const host = memory.hostOf(lo, hi, bytes, false)
    if (host === Translation.MMIO) return long.load(lo, hi, access, slot)
    if (host === Translation.FAULT) return pendingPageFault()
    copy(host, scratchAt + slot * 8, bytes)
    return Slow.OK
  }

  const change = (lo: number, hi: number, access: number, slot: number, translated: boolean): number => {
    const bytes = access & 0xff
    const host = memory.hostOf(lo, hi, bytes, true)
    if (host === Translation.MMIO) return translated && writesCode(lo, hi, bytes) ? Slow.AGAIN : long.store(lo, hi, access, slot)
    if (host === Translation.FAULT) return pendingPageFault()
    if (translated && holdsCodeAt(memory.codeGpa, bytes)) return Slow.AGAIN
    memory.prepareWrite(bytes)
    copy(scratchAt + slot * 8, host, bytes)
    return Slow.OK
  }

  const update = (lo: number, hi: number, access: number, slot: number, translated: boolean): number => {
    const bytes = access & 0xff
    const host = memory.hostOf(lo, hi, bytes, true)
    if (host === Translation.MMIO) return translated && writesCode(lo, hi, bytes) ? Slow.AGAIN : long.probe(lo, hi, access, slot)
    if (host === Translation.FAULT) return pendingPageFault()
    if (translated && holdsCodeAt(memory.codeGpa, bytes)) return Slow.AGAIN
    copy(host, scratchAt + slot * 8, bytes)
    return Slow.OK
  }

  return {
    load,
    store: (_cpu, lo, hi, access, slot) => change(lo, hi, access, slot, false),
    probe: (_cpu, lo, hi, access, slot) => update(lo, hi, access, slot, false),
    tstore: (_cpu, lo, hi, access, slot) => change(lo, hi, access, slot, true),
    tprobe: (_cpu, lo, hi, access, slot) => update(lo, hi, access, slot, true),
    loop: (_cpu, head) => {
      options.onHotLoop(head)
      return 0
    },
    hot: (_cpu, rec) => {
      options.onHot(rec)
      return 0
    },
    segment: (_cpu, segment, lo, hi, access) => guarded(() => {
      const ea = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
      const linear = options.checkSegment(segment, ea, access & 0xff, (access & 0x100) !== 0)
      scratch.setBigUint64(7 * 8, BigInt.asUintN(64, linear), true)
    }),
    unit: (_cpu, unit) => guarded(() => options.checkUnit(unit)),
    crossing: (_cpu, rec) => options.checkCrossing(rec),
  }
}

/** Puts a CPU into the state a boot loader hands over. */
import { SIGNATURE } from '../cpu/cpuid/profiles'
import type { CpuState } from '../cpu/state/access'
import { unpackRflags } from '../cpu/state/flags'
import { Gpr, Seg } from '../cpu/state/layout'
import type { BootState } from './linux'

const CODE_64 = 0xa09b
const CODE_32 = 0xc09b
const DATA = 0xc093
const TSS_BUSY = 0x008b

/** Values of Intel SDM vol. 3, table 10-1 (power-up and INIT), for everything a boot loader does not set. */
export function powerOnState(state: CpuState): void {
  state.bytes.fill(0)
  state.set64('mask16', 0xffffn)
  state.set64('mask32', 0xffff_ffffn)
  state.set64('mask64', 0xffff_ffff_ffff_ffffn)
  unpackRflags(state, 2n)
  state.set64('cr0', 0x6000_0010n)
  state.set64('dr', 0xffff_0ff0n, 6)
  state.set64('dr', 0x400n, 7)
  state.set64('pat', 0x0007_0406_0007_0406n)
  state.set64('xcr0', 1n)
  state.set('mxcsr', 0x1f80)
  state.set('fcw', 0x40)
  state.set('faultVector', -1)
  for (let seg = 0; seg < 8; seg++) {
    state.set('segLimit', 0xffff, seg)
    state.set('segAttr', seg === Seg.CS ? 0x9b : seg === Seg.LDTR ? 0x82 : seg === Seg.TR ? TSS_BUSY : 0x93, seg)
  }
  state.set('segSelector', 0xf000, Seg.CS)
  state.set64('segBase', 0xffff_0000n, Seg.CS)
  state.set64('rip', 0xfff0n)
  state.set('gdtrLimit', 0xffff)
  state.set('idtrLimit', 0xffff)
  state.setGpr(Gpr.RDX, BigInt(SIGNATURE))
}

function loadFlat(state: CpuState, seg: number, selector: number, attr: number): void {
  state.set('segSelector', selector, seg)
  state.set64('segBase', 0n, seg)
  state.set('segLimit', 0xffff_ffff, seg)
  state.set('segAttr', attr, seg)
}

/** Flat segments, paging for 64-bit kernels, and the registers the protocol names. */
export function applyBootState(state: CpuState, boot: BootState): void {
  powerOnState(state)
  const long = boot.mode === 'long'
  loadFlat(state, Seg.CS, 0x10, long ? CODE_64 : CODE_32)
  for (const seg of [Seg.ES, Seg.SS, Seg.DS, Seg.FS, Seg.GS]) loadFlat(state, seg, 0x18, DATA)
  state.set64('gdtrBase', BigInt(boot.gdtBase))
  state.set('gdtrLimit', boot.gdtLimit)
  state.set('idtrLimit', 0)
  state.set64('cr0', long ? 0x8000_0011n : 0x11n)
  if (long) {
    state.set64('cr3', BigInt(boot.cr3))
    state.set64('cr4', 0x20n)
    state.set64('efer', 0x500n)
  }
  state.set64('rip', BigInt(boot.rip))
  state.setGpr(Gpr.RSI, BigInt(boot.rsi))
  state.setGpr(Gpr.RSP, BigInt(boot.rsp))
}

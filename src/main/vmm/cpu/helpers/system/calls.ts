/** SYSCALL, SYSRET, SYSENTER, SYSEXIT: fixed flat segments, no descriptor is read. SDM vol. 2; AMD APM vol. 3 for compatibility mode. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { is64Bit, isLongMode, isProtected, putSegment } from '../../events/descriptors'
import { packRflagsLow, unpackRflagsLow } from '../../state/flags'
import type { CpuState } from '../../state/access'
import { Gpr, Seg, offsetOf } from '../../state/layout'

const CODE64 = 0xa09b
const CODE32 = 0xc09b
const DATA = 0xc093
const DPL3 = 0x60
const EFER_SCE = 1
const RF = 0x1_0000
const VM = 0x2_0000
const IF = 0x200

const setFlat = (state: CpuState, seg: number, selector: number, attr: number): void =>
  putSegment(state, seg, selector, 0, 0xffff_ffff, attr)

const AT_RIP = offsetOf('rip')
const AT_NEXT_RIP = offsetOf('nextRip')
const AT_RCX = offsetOf('gpr', Gpr.RCX)
const AT_R11 = offsetOf('gpr', Gpr.R11)
const AT_RFLAGS = offsetOf('rflags')
const AT_EFER = offsetOf('efer')
const AT_STAR = offsetOf('star')
const AT_LSTAR = offsetOf('lstar')
const AT_CSTAR = offsetOf('cstar')
const AT_SFMASK = offsetOf('sfmask')
const AT_CPL = offsetOf('cpl')

function copy64(view: DataView, to: number, from: number): void {
  view.setInt32(to, view.getInt32(from, true), true)
  view.setInt32(to + 4, view.getInt32(from + 4, true), true)
}

function put64(view: DataView, at: number, lo: number, hi: number): void {
  view.setInt32(at, lo, true)
  view.setInt32(at + 4, hi, true)
}

const privilegeChanged = (cpu: CpuContext): void => (cpu.privilegeChanged ? cpu.privilegeChanged() : cpu.modeChanged())

function requireSyscall(state: CpuState): void {
  if ((state.view.getInt32(AT_EFER, true) & EFER_SCE) === 0 || !isProtected(state)) throw new CpuFault(Vector.UD)
}

/** SYSCALL; `nextRip` holds the return address. These two run at every system call: no bigint, no lookup by name. */
export const syscallHelper: Helper = {
  name: 'syscall', args: [], faults: true,
  run(cpu: CpuContext): void {
    const { state } = cpu
    const { view } = state
    requireSyscall(state)
    const selector = view.getInt32(AT_STAR + 4, true) & 0xffff
    const long = isLongMode(state)
    const rflags = packRflagsLow(state)
    put64(view, AT_RCX, view.getInt32(AT_NEXT_RIP, true), long ? view.getInt32(AT_NEXT_RIP + 4, true) : 0)
    if (long) {
      put64(view, AT_R11, rflags & ~RF, 0)
      copy64(view, AT_RIP, is64Bit(state) ? AT_LSTAR : AT_CSTAR)
      unpackRflagsLow(state, rflags & ~view.getInt32(AT_SFMASK, true) & ~RF)
    } else {
      put64(view, AT_RIP, view.getInt32(AT_STAR, true), 0)
      put64(view, AT_RFLAGS, view.getInt32(AT_RFLAGS, true) & ~(IF | RF | VM), 0)
    }
    setFlat(state, Seg.CS, selector & 0xfffc, long ? CODE64 : CODE32)
    setFlat(state, Seg.SS, ((selector & 0xfffc) + 8) & 0xffff, DATA)
    view.setInt32(AT_CPL, 0, true)
    privilegeChanged(cpu)
  },
}

/** Flags SYSRET takes from R11. */
const SYSRET_FLAGS = 0x3c_7fd7

export const sysretHelper: Helper = {
  name: 'sysret', args: ['i32'], faults: true,
  run(cpu: CpuContext, bits: number): void {
    const { state } = cpu
    const { view } = state
    requireSyscall(state)
    const selector = view.getInt32(AT_STAR + 4, true) >>> 16
    const long = isLongMode(state)
    if (bits === 64) {
      const top = view.getInt32(AT_RCX + 4, true) >> 15
      if (top !== 0 && top !== -1) throw new CpuFault(Vector.GP, 0)
      copy64(view, AT_RIP, AT_RCX)
      setFlat(state, Seg.CS, ((selector + 16) | 3) & 0xffff, CODE64 | DPL3)
    } else {
      put64(view, AT_RIP, view.getInt32(AT_RCX, true), 0)
      setFlat(state, Seg.CS, selector | 3, CODE32 | DPL3)
    }
    setFlat(state, Seg.SS, ((selector + 8) | 3) & 0xffff, DATA | DPL3)
    if (long) unpackRflagsLow(state, (view.getInt32(AT_R11, true) & SYSRET_FLAGS) | 2)
    else put64(view, AT_RFLAGS, view.getInt32(AT_RFLAGS, true) | IF, 0)
    view.setInt32(AT_CPL, 3, true)
    privilegeChanged(cpu)
  },
}

function sysenterSelector(state: CpuState): number {
  const selector = state.lo('sysenterCs') & 0xffff
  if (!isProtected(state) || (selector & 0xfffc) === 0) throw new CpuFault(Vector.GP, 0)
  return selector
}

export const sysenterHelper: Helper = {
  name: 'sysenter', args: [], faults: true,
  run(cpu: CpuContext): void {
    const { state } = cpu
    const selector = sysenterSelector(state) & 0xfffc
    const long = isLongMode(state)
    state.setLoHi('rflags', state.lo('rflags') & ~(IF | VM | RF), 0)
    state.setGpr(Gpr.RSP, long ? state.get64('sysenterEsp') : state.get64('sysenterEsp') & 0xffff_ffffn)
    state.set64('rip', long ? state.get64('sysenterEip') : state.get64('sysenterEip') & 0xffff_ffffn)
    setFlat(state, Seg.CS, selector, long ? CODE64 : CODE32)
    setFlat(state, Seg.SS, (selector + 8) & 0xffff, DATA)
    state.set('cpl', 0)
    cpu.modeChanged()
  },
}

export const sysexitHelper: Helper = {
  name: 'sysexit', args: ['i32'], faults: true,
  run(cpu: CpuContext, bits: number): void {
    const { state } = cpu
    const selector = sysenterSelector(state)
    const wide = bits === 64
    for (const register of wide ? [Gpr.RCX, Gpr.RDX] : []) {
      const top = (state.hi('gpr', register) << 0) >> 15
      if (top !== 0 && top !== -1) throw new CpuFault(Vector.GP, 0)
    }
    state.setLoHi('rip', state.lo('gpr', Gpr.RDX), wide ? state.hi('gpr', Gpr.RDX) : 0)
    state.setLoHi('gpr', state.lo('gpr', Gpr.RCX), wide ? state.hi('gpr', Gpr.RCX) : 0, Gpr.RSP)
    setFlat(state, Seg.CS, ((selector + (wide ? 32 : 16)) | 3) & 0xffff, (wide ? CODE64 : CODE32) | DPL3)
    setFlat(state, Seg.SS, ((selector + (wide ? 40 : 24)) | 3) & 0xffff, DATA | DPL3)
    state.set('cpl', 3)
    cpu.modeChanged()
  },
}

export const callHelpers: readonly Helper[] = [syscallHelper, sysretHelper, sysenterHelper, sysexitHelper]

/** Interrupts, interrupt flag, HLT, port I/O, SYSCALL and SYSENTER. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, MemRef, Val } from '../emit/emitter'
import { syscallHelper, sysenterHelper, sysexitHelper, sysretHelper } from '../helpers/system/calls'
import { haltHelper, int1Helper, interruptsEnabledHelper, softExceptionHelper, softInterruptHelper } from '../helpers/system/interrupts'
import { checkPortHelper, portInHelper, portOutHelper } from '../helpers/system/ports'
import { virtualInterruptFlagHelper } from '../helpers/system/virtual-interrupts'
import { Gpr, Seg } from '../state/layout'
import { quickSyscall, quickSysenter, quickSysexit, quickSysret } from './privilege'
import { row, type Form, type InsnRow, type Meaning } from './types'

const softInterrupt: Meaning = (e) => {
  e.call(softInterruptHelper, e.zext(e.operand(0), 32), e.nextRip())
  e.leave()
}
const breakpoint: Meaning = (e) => {
  e.call(softExceptionHelper, e.const(32, Vector.BP), e.nextRip())
  e.leave()
}
const overflow: Meaning = (e) => {
  e.if(e.flag('of'), () => {
    e.call(softExceptionHelper, e.const(32, Vector.OF), e.nextRip())
    e.leave()
  })
}
const int1: Meaning = (e) => {
  e.call(int1Helper, e.nextRip())
  e.leave()
}
const halt: Meaning = (e) => { e.call(haltHelper) }

const FLAG_IF = 9

/** CLI and STI: by IOPL. Virtual-8086 mode runs at CPL 3, so the same comparison serves. Elsewhere VIF may stand for IF. */
function byIopl(e: Emitter, on: 0 | 1, change: () => void): void {
  const iopl = e.and(e.trunc(e.shr(e.field('rflags'), e.const(64, 12)), 32), e.const(32, 3))
  e.if(e.ltu(iopl, e.field('cpl')), () => { e.call(virtualInterruptFlagHelper, e.const(32, on)) }, change)
}
const cli: Meaning = (e) => byIopl(e, 0, () => {
  e.setField('rflags', e.and(e.field('rflags'), e.not(e.const(64, 1 << FLAG_IF))))
})
/** The shadow lasts for one instruction, and only if interrupts were off before; the helper casts it where it matters. */
const sti: Meaning = (e) => byIopl(e, 1, () => {
  const rflags = e.field('rflags')
  e.if(e.isZero(e.bit(rflags, FLAG_IF)), () => {
    e.setField('rflags', e.or(rflags, e.const(64, 1 << FLAG_IF)))
    e.if(e.ne(e.field('interruptWaits'), e.const(32, 0)), () => { e.call(interruptsEnabledHelper) })
  })
})

type PortWidth = 8 | 16 | 32
const portOf = (e: Emitter, n: number): Val => e.zext(e.operand(n), 32)

const portIn: Meaning = (e) => {
  const width = e.operand(0).width as PortWidth
  const value = e.call(portInHelper, portOf(e, 1), e.const(32, width / 8))
  e.setOperand(0, width === 32 ? value : e.trunc(value, width))
}
const portOut: Meaning = (e) => {
  const value = e.operand(1)
  e.call(portOutHelper, portOf(e, 0), e.const(32, value.width / 8), e.zext(value, 32))
}

/** INS and OUTS have no 64-bit elements. */
const elementOf = (form: Form): PortWidth => (form.size === 64 ? 32 : (form.size as PortWidth))
const pointer = (e: Emitter, form: Form, register: number): Val => e.zext(e.reg(register, form.addressSize), 64)

function advance(e: Emitter, form: Form, register: number): void {
  const a = form.addressSize
  const bytes = elementOf(form) / 8
  const by = e.select(e.bit(e.field('rflags'), 10), e.const(a, -bytes), e.const(a, bytes))
  e.setReg(register, e.add(e.reg(register, a), by))
}

const narrow = (e: Emitter, value: Val, width: PortWidth): Val => (width === 32 ? value : e.trunc(value, width))
const dx = (e: Emitter): Val => e.zext(e.reg(Gpr.RDX, 16), 32)

/** The port is read only when the store is known to succeed: a read may take a byte out of a device. */
function ins(e: Emitter, form: Form): void {
  const width = elementOf(form)
  const bytes = e.const(32, width / 8)
  e.call(checkPortHelper, dx(e), bytes)
  const to: MemRef = e.memSeg(Seg.ES, pointer(e, form, Gpr.RDI))
  e.update(width, to, () => narrow(e, e.call(portInHelper, dx(e), bytes), width))
  advance(e, form, Gpr.RDI)
}
function outs(e: Emitter, form: Form): void {
  const width = elementOf(form)
  const bytes = e.const(32, width / 8)
  e.call(checkPortHelper, dx(e), bytes)
  const value = e.load(width, e.memData(pointer(e, form, Gpr.RSI)))
  e.call(portOutHelper, dx(e), bytes, e.zext(value, 32))
  advance(e, form, Gpr.RSI)
}

/** REP: registers move after every element; between elements the machine may look at interrupts. */
const repeated = (turn: (e: Emitter, form: Form) => void): Meaning => (e, form) => {
  if (form.rep === 'none') return turn(e, form)
  const a = form.addressSize
  e.if(e.ne(e.reg(Gpr.RCX, a), e.const(a, 0)), () => e.loop((control) => {
    turn(e, form)
    e.setReg(Gpr.RCX, e.sub(e.reg(Gpr.RCX, a), e.const(a, 1)))
    e.if(e.isZero(e.reg(Gpr.RCX, a)), () => control.break())
    e.checkpoint()
  }))
}

const syscall: Meaning = (e) => {
  quickSyscall(e)
  e.setField('nextRip', e.nextRip())
  e.call(syscallHelper)
  e.leave()
}
const sysret: Meaning = (e, { size }) => {
  if (size === 64) quickSysret(e)
  e.call(sysretHelper, e.const(32, size))
  e.leave()
}
const sysenter: Meaning = (e) => {
  quickSysenter(e)
  e.call(sysenterHelper)
  e.leave()
}
const sysexit: Meaning = (e, { size }) => {
  if (size === 32) quickSysexit(e)
  e.call(sysexitHelper, e.const(32, size))
  e.leave()
}

// Interrupts, ports and rings are the host system's: no comparison with the real CPU in user mode.
const system = { noNative: true } as const
const leaves = { ...system, ends: 'leave' } as const
const after = { ...system, ends: 'after' } as const
const string = { ...system, rep: 'rep', addressSized: true, flags: { reads: 'd' } } as const

export const systemEventRows: readonly InsnRow[] = [
  row('INT', 'CD', 'Ib', 'r', softInterrupt, leaves),
  row('INT3', 'CC', '', '', breakpoint, { ...leaves, size: 32 }),
  row('INTO', 'CE', '', '', overflow, { ...system, ends: 'leave', modes: 'not64', size: 32, flags: { reads: 'o' } }),
  row('INT1', 'F1', '', '', int1, { ...leaves, size: 32 }),
  row('HLT', 'F4', '', '', halt, { ...after, privileged: true, size: 32 }),
  row('CLI', 'FA', '', '', cli, { ...system, size: 32 }),
  row('STI', 'FB', '', '', sti, { ...system, ends: 'changed', size: 32 }),
  row('IN', 'E4', 'AL,Ib', 'w,r', portIn, system),
  row('IN', 'E5', 'eAX,Ib', 'w,r', portIn, system),
  row('IN', 'EC', 'AL,DX', 'w,r', portIn, system),
  row('IN', 'ED', 'eAX,DX', 'w,r', portIn, system),
  row('OUT', 'E6', 'Ib,AL', 'r,r', portOut, system),
  row('OUT', 'E7', 'Ib,eAX', 'r,r', portOut, system),
  row('OUT', 'EE', 'DX,AL', 'r,r', portOut, system),
  row('OUT', 'EF', 'DX,eAX', 'r,r', portOut, system),
  row('INSB', '6C', '', '', repeated(ins), { ...string, size: 8 }),
  row('INS', '6D', '', '', repeated(ins), string),
  row('OUTSB', '6E', '', '', repeated(outs), { ...string, size: 8 }),
  row('OUTS', '6F', '', '', repeated(outs), string),
  row('SYSCALL', '0F 05', '', '', syscall, { ...leaves, cpuid: 'syscall', size: 32 }),
  row('SYSRET', '0F 07', '', '', sysret, { ...leaves, cpuid: 'syscall', privileged: true }),
  row('SYSENTER', '0F 34', '', '', sysenter, { ...leaves, cpuid: 'sep', size: 32 }),
  row('SYSEXIT', '0F 35', '', '', sysexit, { ...leaves, cpuid: 'sep', privileged: true }),
]

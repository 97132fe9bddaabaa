/** PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE. SDM vol. 2 and vol. 1 chapter 6. */
import { Vector } from '../core/context'
import type { Emitter, Val } from '../emit/emitter'
import { Gpr, Seg } from '../state/layout'
import { popFlagsHelper, pushFlagsHelper } from '../helpers/flags'
import { Mode } from '../state/mode'
import { quickPopFlags } from './privilege'
import { row, type InsnRow, type Meaning } from './types'

type Wide = 16 | 32 | 64

const push: Meaning = (e, { size }) => e.push(e.sext(e.operand(0), size as Wide))
const pop: Meaning = (e, { size }) => e.setOperand(0, e.pop(size as Wide))

/** Stack pointer moved by a constant, wrapped to the stack size; width 64. */
function stackAt(e: Emitter, base: Val, by: number): Val {
  return e.and(e.add(base, e.const(64, by)), e.field('stackMask'))
}

/** Writes the part of RSP that the stack size covers. */
function setStack(e: Emitter, value: Val): void {
  const mask = e.field('stackMask')
  const kept = e.and(e.reg(Gpr.RSP, 64), e.not(mask))
  e.setReg(Gpr.RSP, e.or(kept, e.and(value, mask)))
}

/** The address of a memory destination is computed with RSP already moved; RSP itself is restored if the store faults. */
const popMemory: Meaning = (e, { size }) => {
  const before = e.reg(Gpr.RSP, 64)
  const value = e.load(size as Wide, e.memSeg(Seg.SS, stackAt(e, before, 0)))
  setStack(e, stackAt(e, before, size / 8))
  const target = e.effectiveAddress(0)
  const after = e.reg(Gpr.RSP, 64)
  e.setReg(Gpr.RSP, before)
  e.store(e.memData(target), value)
  e.setReg(Gpr.RSP, after)
}

const popRm: Meaning = (e, form) => (form.rm === 'mem' ? popMemory(e, form) : pop(e, form))

const ALL = [Gpr.RAX, Gpr.RCX, Gpr.RDX, Gpr.RBX, Gpr.RSP, Gpr.RBP, Gpr.RSI, Gpr.RDI]

const pusha: Meaning = (e, { size }) => {
  const width = size as Wide
  const base = e.reg(Gpr.RSP, 64)
  const values = ALL.map((r) => e.reg(r, width))
  values.forEach((value, i) => e.store(e.memSeg(Seg.SS, stackAt(e, base, -(size / 8) * (i + 1))), value))
  setStack(e, stackAt(e, base, -size))
}

const popa: Meaning = (e, { size }) => {
  const width = size as Wide
  const base = e.reg(Gpr.RSP, 64)
  // From the lowest address up: that is where a page fault is reported.
  const values = ALL.map((_, i) => e.load(width, e.memSeg(Seg.SS, stackAt(e, base, i * (size / 8))))).reverse()
  ALL.forEach((r, i) => {
    if (r !== Gpr.RSP) e.setReg(r, values[i])
  })
  setStack(e, stackAt(e, base, size))
}

const pushf: Meaning = (e, { size }) => {
  // VM and RF are never pushed as set.
  const image = e.variable(64, e.and(e.rflags(), e.const(64, 0xfcffff)))
  e.if(e.ne(e.and(e.field('modeKey'), e.const(32, Mode.V86)), e.const(32, 0)), () => image.set(e.call(pushFlagsHelper, e.const(32, size))))
  e.push(e.trunc(image.get(), size as Wide))
}

const popf: Meaning = (e, { size }) => {
  const base = e.reg(Gpr.RSP, 64)
  const value = e.load(size as Wide, e.memSeg(Seg.SS, stackAt(e, base, 0)))
  e.if(e.isZero(quickPopFlags(e, value, size as Wide)), () => { e.call(popFlagsHelper, e.zext(value, 64), e.const(32, size)) })
  setStack(e, stackAt(e, base, size / 8))
}

/** Nesting levels above 0 copy frame pointers one by one. */
const enter: Meaning = (e, { size }) => {
  const width = size as Wide
  const bytes = size / 8
  const level = e.and(e.zext(e.operand(1), 32), e.const(32, 31))
  const start = e.reg(Gpr.RSP, 64)
  const frame = stackAt(e, start, -bytes)
  // The frame pointer is the whole of ESP, also where the stack uses SP alone.
  const framePointer = e.or(e.and(start, e.not(e.field('stackMask'))), frame)
  e.store(e.memSeg(Seg.SS, frame), e.reg(Gpr.RBP, width))
  const at = e.variable(64, frame)
  const left = e.variable(32, level)
  const from = e.variable(64, e.reg(Gpr.RBP, 64))
  e.if(e.ne(level, e.const(32, 0)), () => {
    e.loop((loop) => {
      left.set(e.sub(left.get(), e.const(32, 1)))
      e.if(e.isZero(left.get()), () => loop.break())
      from.set(e.sub(from.get(), e.const(64, bytes)))
      at.set(stackAt(e, at.get(), -bytes))
      const copied = e.load(width, e.memSeg(Seg.SS, e.and(from.get(), e.field('stackMask'))))
      e.store(e.memSeg(Seg.SS, at.get()), copied)
    })
    at.set(stackAt(e, at.get(), -bytes))
    e.store(e.memSeg(Seg.SS, at.get()), e.trunc(framePointer, width))
  })
  const end = e.and(e.sub(at.get(), e.zext(e.operand(0), 64)), e.field('stackMask'))
  // The final stack pointer must be writable, or the instruction faults.
  e.update(width, e.memSeg(Seg.SS, end), (old) => old)
  setStack(e, end)
  e.setReg(Gpr.RBP, e.trunc(framePointer, width))
}

const leave: Meaning = (e, { size }) => {
  const base = e.and(e.reg(Gpr.RBP, 64), e.field('stackMask'))
  const value = e.load(size as Wide, e.memSeg(Seg.SS, base))
  setStack(e, stackAt(e, base, size / 8))
  e.setReg(Gpr.RBP, value)
}

/** #UD in 64-bit mode is the decoder's matter (`not64`). */
const BOUND_VECTOR = Vector.BR
const bound: Meaning = (e, { size }) => {
  const width = size as 16 | 32
  const index = e.operand(0)
  const lower = e.load(width, e.memOperand(1))
  const upper = e.load(width, e.memOperand(1, e.const(64, size / 8)))
  e.if(e.or(e.lts(index, lower), e.lts(upper, index)), () => e.raise(BOUND_VECTOR))
}

export const stackRows: readonly InsnRow[] = [
  row('PUSH', '50+r', 'Zv', 'r', push, { size64: 'd64' }),
  row('POP', '58+r', 'Zv', 'w', pop, { size64: 'd64' }),
  row('PUSH', 'FF /6', 'Ev', 'r', push, { size64: 'd64' }),
  row('POP', '8F /0', 'Ev', 'w', popRm, { size64: 'd64' }),
  row('PUSH', '68', 'Iz', 'r', push, { size64: 'd64' }),
  row('PUSH', '6A', 'Ibs', 'r', push, { size64: 'd64' }),
  row('PUSHA', '60', '', '', pusha, { modes: 'not64' }),
  row('POPA', '61', '', '', popa, { modes: 'not64' }),
  row('PUSHF', '9C', '', '', pushf, { size64: 'd64', flags: { reads: 'oszapc' } }),
  row('POPF', '9D', '', '', popf, { size64: 'd64', flags: { writes: 'oszapc' }, ends: 'changed' }),
  row('ENTER', 'C8', 'Iw,Ib', 'r,r', enter, { size64: 'd64' }),
  row('LEAVE', 'C9', '', '', leave, { size64: 'd64' }),
  row('BOUND', '62 /r', 'Gv,Ma', 'r,r', bound, { modes: 'not64' }),
]

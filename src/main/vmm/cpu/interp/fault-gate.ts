/**
 * A page fault on its way to flat ring 0 code without TypeScript: what `events/quick.ts` does, in generated code. Gate, descriptors,
 * TSS and stack are read through entries the TLB has already, and nothing is changed before all of them were found; where one is
 * missing, TypeScript delivers the fault. Intel SDM vol. 3, 6.12 to 6.14.
 */
import { TlbView } from '../../mmu/tlb-layout'
import { CR4_SMAP } from '../../mmu/paging-bits'
import { Vector } from '../core/context'
import { Exit } from '../core/exits'
import type { Val, Width } from '../emit/emitter'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { StateFunctionEmitter } from '../emit/wasm/state-function'
import { Attr, SystemType } from '../events/descriptors'
import { CLEARED, CODE32_ATTR, CODE64_ATTR, DATA_ATTR, FLAG_AC, FLAG_RF, FLAT_CODE32, FLAT_CODE64, FLAT_DATA, IGNORED, KIND } from '../events/flat-gate'
import { Gpr, Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { handlerOf } from './record-loads'

/** Results of the gate. */
const LEFT = 0
const DELIVERED = 1

/** Upper half of a gate's first eight bytes: P, DPL, type; in 64-bit mode also that no stack of the IST is asked for. */
const GATE32 = { mask: 0x9f00, wanted: 0x8000 | (SystemType.INT32 << 8), bytes: 8 } as const
const GATE64 = { mask: 0x9f07, wanted: 0x8000 | (SystemType.INT32 << 8), bytes: 16 } as const
const CELLS64 = 6

interface Stack {
  /** Width 64, before anything is pushed. */
  readonly pointer: Val
  /** Width 32; undefined: SS becomes null. */
  readonly selector: Val | undefined
}

class GateEmitter extends StateFunctionEmitter {
  private unless(condition: Val): void {
    this.if(this.isZero(condition), () => this.f.return(this.f.i32(LEFT)))
  }

  private is(value: Val, wanted: number): Val {
    return this.eq(value, this.const(value.width, wanted))
  }

  private masked(value: Val, mask: number | bigint): Val {
    return this.and(value, this.const(value.width, mask))
  }

  private plus(value: Val, by: number): Val {
    return this.add(value, this.const(value.width, by))
  }

  private notAbove(a: Val, b: Val): Val {
    return this.isZero(this.ltu(b, a))
  }

  /** Host address of bytes of one page, as ring 0 reads or writes them. */
  private host(linear: Val, bytes: number, write = false): Val {
    this.unless(this.ltu(this.masked(this.trunc(linear, 32), 0xfff), this.const(32, 0x1001 - bytes)))
    const host = this.hostBy(this.field('viewBases', TlbView.SUPERVISOR), linear, write)
    this.unless(this.ne(host, this.const(32, 0)))
    return host
  }

  /** Goes on where a selector is of a flat ring 0 descriptor in the GDT. @param upper half of it */
  private checkFlat(selector: Val, upper: number): void {
    this.unless(this.isZero(this.masked(selector, 7)))
    this.unless(this.ne(selector, this.const(32, 0)))
    this.unless(this.notAbove(this.plus(selector, 7), this.field('gdtrLimit')))
    const at = this.host(this.add(this.field('gdtrBase'), this.zext(selector, 64)), 8)
    this.unless(this.is(this.hostLoad(32, at), 0xffff))
    this.unless(this.is(this.masked(this.hostLoad(32, at, 4), ~IGNORED), upper))
  }

  /** Host address of the page fault's gate. */
  private findGate({ mask, wanted, bytes }: typeof GATE32 | typeof GATE64): Val {
    const offset = Vector.PF * bytes
    this.unless(this.notAbove(this.const(32, offset + bytes - 1), this.field('idtrLimit')))
    const gate = this.host(this.plus(this.field('idtrBase'), offset), bytes)
    this.unless(this.is(this.masked(this.hostLoad(32, gate, 4), mask), wanted))
    return gate
  }

  /** Bytes of the TSS from offset 4 on, where ring 0's stack is named. */
  private taskStack(bytes: number): Val {
    this.unless(this.notAbove(this.const(32, 3 + bytes), this.field('segLimit', Seg.TR)))
    return this.host(this.plus(this.field('segBase', Seg.TR), 4), bytes)
  }

  /** From ring 0 or 3 only. @param outer what it comes to from ring 3 */
  private fromRing(inner: () => void, outer: () => void): void {
    const cpl = this.field('cpl')
    this.unless(this.or(this.isZero(cpl), this.is(cpl, 3)))
    this.if(this.isZero(cpl), inner, outer)
  }

  private putSegment(seg: number, selector: Val, limit: number, attr: number): void {
    this.setField('segSelector', selector, seg)
    this.setField('segBase', this.const(64, 0), seg)
    this.setField('segLimit', this.const(32, limit), seg)
    this.setField('segAttr', this.const(32, attr), seg)
  }

  /** Writes cells of a stack frame upwards. */
  private push(at: Val, width: Width, cells: readonly Val[]): void {
    cells.forEach((value, i) => this.hostStore(at, width === 64 ? this.zext(value, 64) : this.trunc(value, 32), i * (width / 8)))
  }

  private pushedFlags(): Val {
    return this.or(this.rflags(), this.const(64, FLAG_RF))
  }

  deliver64(): void {
    const gate = this.findGate(GATE64)
    const high = this.hostLoad(32, gate, 8)
    const top = this.sar(high, this.const(32, 15))
    this.unless(this.notAbove(this.plus(top, 1), this.const(32, 1)))
    const selector = this.hostLoad(16, gate, 2)
    this.checkFlat(this.zext(selector, 32), FLAT_CODE64)
    const rip = this.or(this.shl(this.zext(high, 64), this.const(64, 32)), this.zext(this.offset(gate), 64))
    const finish = ({ pointer }: Stack, outer: boolean): void => {
      const start = this.sub(this.masked(pointer, -16n), this.const(64, CELLS64 * 8))
      const at = this.host(start, CELLS64 * 8, true)
      this.push(at, 64, [
        this.field('faultError'), this.field('rip'), this.field('segSelector', Seg.CS), this.pushedFlags(),
        this.field('gpr', Gpr.RSP), this.field('segSelector', Seg.SS),
      ])
      if (outer) this.putSegment(Seg.SS, this.const(32, 0), 0, Attr.UNUSABLE)
      this.enter(start, rip, this.zext(selector, 32), CODE64_ATTR)
    }
    this.fromRing(
      () => finish({ pointer: this.field('gpr', Gpr.RSP), selector: undefined }, false),
      () => finish({ pointer: this.hostLoad(64, this.taskStack(8)), selector: undefined }, true))
  }

  deliver32(): void {
    const gate = this.findGate(GATE32)
    const selector = this.zext(this.hostLoad(16, gate, 2), 32)
    this.checkFlat(selector, FLAT_CODE32)
    const rip = this.zext(this.offset(gate), 64)
    const inner = [this.field('faultError'), this.field('rip'), this.field('segSelector', Seg.CS)]
    this.fromRing(
      () => this.finish32(this.trunc(this.field('gpr', Gpr.RSP), 32), rip, selector, [...inner, this.pushedFlags()]),
      () => {
        this.unless(this.is(this.masked(this.field('segAttr', Seg.TR), 0x1_001f), SystemType.TSS32_BUSY))
        const task = this.taskStack(6)
        const stackSelector = this.zext(this.hostLoad(16, task, 4), 32)
        const pointer = this.hostLoad(32, task)
        this.checkFlat(stackSelector, FLAT_DATA)
        const cells = [...inner, this.pushedFlags(), this.field('gpr', Gpr.RSP), this.field('segSelector', Seg.SS)]
        this.finish32(pointer, rip, selector, cells, () => this.putSegment(Seg.SS, stackSelector, -1, DATA_ATTR))
      })
  }

  private finish32(pointer: Val, rip: Val, selector: Val, cells: readonly Val[], loadStack?: () => void): void {
    const bytes = cells.length * 4
    this.unless(this.notAbove(this.const(32, bytes), pointer))
    const start = this.zext(this.sub(pointer, this.const(32, bytes)), 64)
    this.push(this.host(start, bytes, true), 32, cells)
    loadStack?.()
    this.enter(start, rip, selector, CODE32_ATTR)
  }

  /** Lower half of the handler's address. */
  private offset(gate: Val): Val {
    return this.or(this.shl(this.zext(this.hostLoad(16, gate, 6), 32), this.const(32, 16)), this.zext(this.hostLoad(16, gate), 32))
  }

  /** RSP, RIP, CS, flags, and what follows from the privilege. */
  private enter(rsp: Val, rip: Val, selector: Val, attr: number): void {
    this.setField('gpr', rsp, Gpr.RSP)
    this.setField('rip', rip)
    this.putSegment(Seg.CS, selector, -1, attr)
    const flags = this.masked(this.field('rflags'), ~BigInt(CLEARED))
    this.setField('rflags', flags)
    const zero = this.const(32, 0)
    for (const name of ['intShadow', 'pendingDebug', 'halted', 'cpl'] as const) this.setField(name, zero)
    this.setField('modeKey', this.masked(this.field('modeKey'), ~Mode.USER))
    this.setField('codeTlbBase', this.field('ringTables'))
    const lifted = this.and(
      this.ne(this.masked(this.trunc(flags, 32), FLAG_AC), zero),
      this.ne(this.masked(this.trunc(this.field('cr4'), 32), CR4_SMAP), zero))
    this.setField('tlbBase', this.select(lifted, this.field('viewBases', TlbView.SUPERVISOR_AC), this.field('viewBases', TlbView.SUPERVISOR)))
    this.setField('faultVector', this.const(32, -1))
    this.setField('gateFaults', this.plus(this.field('gateFaults'), 1))
    this.f.return(this.f.i32(DELIVERED))
  }

  build(): Uint8Array {
    this.unless(this.is(this.field('faultVector'), Vector.PF))
    // Somebody wants to look between two instructions, or after each.
    this.unless(this.and(this.lts(this.const(32, 0), this.field('sliceLeft')), this.isZero(this.field('gateShut'))))
    this.unless(this.ne(this.field('ringTables'), this.const(32, 0)))
    const kind = this.masked(this.field('modeKey'), KIND)
    this.if(this.is(kind, Mode.CODE64 | Mode.FLAT | Mode.LONG), () => this.deliver64())
    this.unless(this.is(kind, Mode.CODE32 | Mode.FLAT))
    this.deliver32()
    return this.f.encode()
  }
}

/** `(cpu) → DELIVERED where the pending exception was a page fault and is one no more, else LEFT` */
export const buildFaultGate = (): Uint8Array => new GateEmitter(new FunctionBuilder(['i32'])).build()

/** Indices of the functions an entry from TypeScript calls. */
export interface EntryFunctions {
  readonly gate: number
  /** Of `buildCodeRenewal`. */
  readonly renewal: number
  /** Of `buildLookup`. */
  readonly lookup: number
}

/** (cpu, rec): entry from TypeScript: runs one record by its handler, and what comes of it, until TypeScript is needed. */
export function buildEnter(handlerType: number, { gate, renewal, lookup }: EntryFunctions): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const cpu = f.param(0)
  const exit = f.newLocal('i32')
  const rip = (): Node => f.load('i64.load', 'i64', cpu, offsetOf('rip'))
  const half = (value: Node): Node => f.pure('i32.wrap_i64', 'i32', [value])
  f.setLocal(exit, f.callIndirect(handlerType, 'i32', [cpu, f.param(1)], handlerOf(f, f.param(1))))
  f.loop((label) => {
    const goOnIf = (condition: Node): void => f.if(condition, () => {
      f.setLocal(exit, f.call(lookup, 'i32', [cpu, rip(), f.i32(0)]))
      f.jump(label, 'continue')
    })
    f.if(f.pure('i32.eq', 'i32', [f.getLocal(exit), f.i32(Exit.FAULT)]), () => goOnIf(f.call(gate, 'i32', [cpu])))
    f.if(f.pure('i32.eq', 'i32', [f.getLocal(exit), f.i32(Exit.LOOKUP)]), () => {
      const linear = f.pure('i64.add', 'i64', [rip(), f.load('i64.load', 'i64', cpu, offsetOf('codeBase'))])
      const high = half(f.pure('i64.shr_u', 'i64', [linear, f.i64(32n)]))
      goOnIf(f.call(renewal, 'i32', [cpu, half(linear), high]))
    })
    f.return(f.getLocal(exit))
  })
  return f.encode()
}

/** The hand-built functions of the interpreter module: faults, block transitions, code lookup, resynchronisation. */
import { Exit } from '../core/exits'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { offsetOf } from '../state/layout'
import { CODE_TLB_ENTRIES, CODE_TLB_ENTRY_SIZE, CODE_TLB_HASH_SHIFT, CodeTlbEntry } from '../../mmu/tlb-layout'
import { keepJump } from './jump-cache'
import { Guard, Head, LINE_OFFSETS, LINE_SHIFT, LINES, PSEUDO_SLOTS, Rec } from './record'
import { countOf, deltaOf, handlerOf } from './record-loads'

const blockRip = (f: FunctionBuilder): Node => f.load('i64.load', 'i64', f.param(0), offsetOf('blockRip'))

/** sliceLeft -= (record's count + bias); returns what is left. */
function charge(f: FunctionBuilder, rec: Node, bias: number): Node {
  const count = f.pure('i32.add', 'i32', [countOf(f, rec), f.i32(bias)])
  const left = f.pure('i32.sub', 'i32', [f.load('i32.load', 'i32', f.param(0), offsetOf('sliceLeft')), count])
  f.store('i32.store', f.param(0), left, offsetOf('sliceLeft'))
  return left
}

function setRipToRecord(f: FunctionBuilder, rec: Node): void {
  const delta = f.pure('i64.extend_i32_u', 'i64', [deltaOf(f, rec)])
  f.store('i64.store', f.param(0), f.pure('i64.add', 'i64', [blockRip(f), delta]), offsetOf('rip'))
}

/** (cpu, rec): leave with RIP at this record's instruction, which has not been executed. */
export function buildStopHere(exit: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  setRipToRecord(f, f.param(1))
  charge(f, f.param(1), -1)
  f.return(f.i32(exit))
  return f.encode()
}

/** (cpu, rip, rec): charge the slice for the block so far; leave when it is over, else continue by `lookup`. */
export function buildGoto(lookup: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i64', 'i32'])
  const left = charge(f, f.param(2), 0)
  f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
    f.store('i64.store', f.param(0), f.param(1), offsetOf('rip'))
    f.return(f.i32(Exit.SLICE))
  })
  f.tailCall(lookup, [f.param(0), f.param(1), f.i32(0)])
  return f.encode()
}

/** (cpu, rip, rec): as goto, and remembers the target in the record when both are in one page. */
export function buildLink(lookup: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i64', 'i32'])
  const left = charge(f, f.param(2), 0)
  f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
    f.store('i64.store', f.param(0), f.param(1), offsetOf('rip'))
    f.return(f.i32(Exit.SLICE))
  })
  const changed = f.pure('i64.xor', 'i64', [blockRip(f), f.param(1)])
  const samePage = f.pure('i64.eqz', 'i32', [f.pure('i64.and', 'i64', [changed, f.i64(-4096n)])])
  f.tailCall(lookup, [f.param(0), f.param(1), f.pure('select', 'i32', [f.param(2), f.i32(0), samePage])])
  return f.encode()
}

/** Address of the code lookup's entry for a linear address, in the table in force. */
export function lookupEntry(f: FunctionBuilder, cpu: Node, linear: Node): Node {
  const number = f.pure('i32.wrap_i64', 'i32', [f.pure('i64.shr_u', 'i64', [linear, f.i64(12n)])])
  const hash = f.pure('i32.xor', 'i32', [number, f.pure('i32.shr_u', 'i32', [number, f.i32(CODE_TLB_HASH_SHIFT)])])
  const slot = f.pure('i32.mul', 'i32', [f.pure('i32.and', 'i32', [hash, f.i32(CODE_TLB_ENTRIES - 1)]), f.i32(CODE_TLB_ENTRY_SIZE)])
  return f.pure('i32.add', 'i32', [f.load('i32.load', 'i32', cpu, offsetOf('codeTlbBase')), slot])
}

/** Whether the code lookup knows the page at a linear address (i32), and the page's map where it does. `page` has no offset. */
export function findCode(f: FunctionBuilder, cpu: Node, page: Node): { readonly found: Node; readonly map: Node } {
  const entry = lookupEntry(f, cpu, page)
  const found = f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, CodeTlbEntry.tag), page])
  return { found, map: f.load('i32.load', 'i32', entry, CodeTlbEntry.map) }
}

/**
 * (cpu, rip, rec): finds decoded code for `rip` and runs it; links `rec` to it unless 0. Instructions that cross a page are
 * not linked to: a write to their second page drops them, and would leave the links of the first page astray.
 */
export function buildLookup(handlerType: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i64', 'i32'])
  const cpu = f.param(0)
  const linear = f.pure('i64.add', 'i64', [f.param(1), f.load('i64.load', 'i64', cpu, offsetOf('codeBase'))])
  const page = f.pure('i64.and', 'i64', [linear, f.i64(-4096n)])
  const entry = lookupEntry(f, cpu, linear)
  const hit = f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, CodeTlbEntry.tag), page])
  f.if(hit, () => {
    const low = f.pure('i32.wrap_i64', 'i32', [linear])
    const cell = (map: Node, offset: Node): Node => f.load('i32.load', 'i32', f.pure('i32.add', 'i32', [map, offset]))
    const lineOffset = f.pure('i32.and', 'i32', [f.pure('i32.shr_u', 'i32', [low, f.i32(LINE_SHIFT - 2)]), f.i32(4 * (LINES - 1))])
    const line = cell(f.load('i32.load', 'i32', entry, CodeTlbEntry.map), lineOffset)
    const found = f.newLocal('i32')
    f.setLocal(found, f.i32(0))
    f.if(f.pure('i32.and', 'i32', [line, f.i32(1)]), () => {
      const inLine = f.pure('i32.shl', 'i32', [f.pure('i32.and', 'i32', [low, f.i32(LINE_OFFSETS - 1)]), f.i32(2)])
      f.setLocal(found, cell(f.pure('i32.sub', 'i32', [line, f.i32(1)]), inLine))
    }, () => {
      const same = f.pure('i32.eq', 'i32', [f.load('i32.load16_u', 'i32', line, Head.pageOffset), f.pure('i32.and', 'i32', [low, f.i32(0xfff)])])
      f.setLocal(found, f.pure('select', 'i32', [line, f.i32(0), same]))
    })
    const target = f.finalLocal(found)
    f.if(target, () => {
      const handler = handlerOf(f, target)
      f.if(f.param(2), () => {
        f.if(f.pure('i32.ne', 'i32', [handler, f.i32(PSEUDO_SLOTS.crossing)]), () => f.store('i32.store', f.param(2), target, Rec.link))
      }, () => keepJump(f, cpu, f.param(1), target))
      f.store('i64.store', cpu, f.param(1), offsetOf('blockRip'))
      f.tailCallIndirect(handlerType, [cpu, target], handler)
    })
  })
  f.store('i64.store', cpu, f.param(1), offsetOf('rip'))
  f.return(f.i32(Exit.LOOKUP))
  return f.encode()
}

/** (cpu, rec): pseudo-instruction at the end of a block that was cut: go on at this record's address, linked if known. */
export function buildContinue(link: number, handlerType: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const delta = f.pure('i64.extend_i32_u', 'i64', [deltaOf(f, f.param(1))])
  const rip = f.pure('i64.add', 'i64', [blockRip(f), delta])
  const target = f.load('i32.load', 'i32', f.param(1), Rec.link)
  f.if(target, () => {
    const left = charge(f, f.param(1), 0)
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      f.store('i64.store', f.param(0), rip, offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
    f.store('i64.store', f.param(0), rip, offsetOf('blockRip'))
    f.tailCallIndirect(handlerType, [f.param(0), target], handlerOf(f, target))
  })
  f.tailCall(link, [f.param(0), rip, f.param(1)])
  return f.encode()
}

/** (cpu, rec): asks TypeScript whether the x87/MMX/SSE unit is available; faults or goes on with the next record. */
export function buildUnitCheck(handlerType: number, check: number, fault: number, recordSize: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const unit = f.load('i32.load', 'i32', f.param(1), Rec.imm)
  f.if(f.call(check, 'i32', [f.param(0), unit]), () => f.tailCall(fault, [f.param(0), f.param(1)]))
  const next = f.pure('i32.add', 'i32', [f.param(1), f.i32(recordSize)])
  f.tailCallIndirect(handlerType, [f.param(0), next], handlerOf(f, next))
  return f.encode()
}

/** (cpu, rec): exception known at decode time: vector in `imm`, error code in `displacement` (-1 none). */
export function buildRaise(fault: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const low = (offset: number): Node => f.load('i32.load', 'i32', f.param(1), offset)
  f.store('i32.store', f.param(0), low(Rec.imm), offsetOf('faultVector'))
  const code = low(Rec.displacement)
  f.store('i32.store', f.param(0), code, offsetOf('faultError'))
  f.store('i32.store', f.param(0), f.pure('i32.ge_s', 'i32', [code, f.i32(0)]), offsetOf('faultHasError'))
  f.tailCall(fault, [f.param(0), f.param(1)])
  return f.encode()
}

/**
 * (cpu, rec): before an instruction that ends in the next page: is that page still the one it was decoded from? The code
 * lookup says so where the page was entered there; pages in which a code segment ends never are.
 */
export function buildCrossingGuard(handlerType: number, check: number, fault: number, resync: number, recordSize: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const goOn = (): void => {
    const next = f.pure('i32.add', 'i32', [f.param(1), f.i32(recordSize)])
    f.tailCallIndirect(handlerType, [f.param(0), next], handlerOf(f, next))
  }
  // A guard is always the head of its block.
  const linear = f.pure('i64.add', 'i64', [blockRip(f), f.load('i64.load', 'i64', f.param(0), offsetOf('codeBase'))])
  const page = f.pure('i64.add', 'i64', [f.pure('i64.and', 'i64', [linear, f.i64(-4096n)]), f.i64(4096n)])
  const { found: entered, map } = findCode(f, f.param(0), page)
  const same = f.pure('i32.eq', 'i32', [map, f.load('i32.load', 'i32', f.param(1), Guard.map)])
  f.if(f.pure('i32.and', 'i32', [entered, same]), goOn)
  const status = f.call(check, 'i32', [f.param(0), f.param(1)])
  f.if(status, () => {
    f.if(f.pure('i32.eq', 'i32', [status, f.i32(1)]), () => f.tailCall(fault, [f.param(0), f.param(1)]))
    f.tailCall(resync, [f.param(0), f.param(1)])
  })
  goOn()
  return f.encode()
}

/** (cpu, rec): head of a block: counts entries, tells once when the block is hot, and goes on with the first instruction. */
export function buildHead(handlerType: number, hot: number, recordSize: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const left = f.pure('i32.sub', 'i32', [f.load('i32.load', 'i32', f.param(1), Head.entries), f.i32(1)])
  f.store('i32.store', f.param(1), left, Head.entries)
  f.if(f.pure('i32.eqz', 'i32', [left]), () => { f.call(hot, 'i32', [f.param(0), f.param(1)]) })
  f.tailCallIndirect(handlerType, [f.param(0), f.pure('i32.add', 'i32', [f.param(1), f.i32(recordSize)])],
    handlerOf(f, f.param(1), recordSize))
  return f.encode()
}

/**
 * (cpu, rec): a translated block cannot go on at this instruction. A pending exception leaves; a store into code is made
 * again by tier 0, which sees the change at its next record.
 */
export function buildTranslatedFault(handlerType: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const none = f.pure('i32.lt_s', 'i32', [f.load('i32.load', 'i32', f.param(0), offsetOf('faultVector')), f.i32(0)])
  f.if(none, () => f.tailCallIndirect(handlerType, [f.param(0), f.param(1)], handlerOf(f, f.param(1))))
  setRipToRecord(f, f.param(1))
  charge(f, f.param(1), -1)
  f.return(f.i32(Exit.FAULT))
  return f.encode()
}

/**
 * Tier 0's switch: one function with the frequent forms as the cases of a switch in a loop, so that going from one instruction to
 * the next is a jump instead of a call through the table. It stands in the slots of its cases and in that of block heads.
 */
import { Exit } from '../../core/exits'
import { FunctionBuilder, type BlockLabel } from '../../emit/wasm/function'
import { offsetOf } from '../../state/layout'
import type { HandlerTable } from '../handler-table'
import type { HandlerLinks } from '../handler-emitter'
import { Head, PSEUDO_SLOTS, RECORD_SIZE } from '../record'
import { handlerOf } from '../record-loads'
import { SwitchEmitter, type SwitchFrame } from './emitter'

/**
 * Its body.
 * @param links `fault`, `goto`, `link` and the handlers' type; helpers and slow paths are the handlers' matter
 */
export function buildSwitch(handlers: HandlerTable, links: HandlerLinks): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32'])
  const [cpu, locals] = [f.param(0), { rec: f.newLocal('i32'), left: f.newLocal('i32'), target: f.newLocal('i64'), slot: f.newLocal('i32') }]
  const [rec, target] = [f.finalLocal(locals.rec), f.finalLocal(locals.target)]
  f.setLocal(locals.rec, f.param(1))
  f.block((link) => {
    f.block((goto) => {
      f.block((aside) => {
        enterHead(f, locals, aside)
        f.loop((next) => {
          f.block((head) => dispatch(f, handlers, links, { ...locals, head, next, aside, link, goto }))
          leaveAtEnd(f, locals)
          enterHead(f, locals, aside)
          f.jump(next, 'continue')
        })
      })
      f.tailCallIndirect(links.handlerType, [cpu, rec], f.finalLocal(locals.slot))
    })
    f.tailCall(links.goto, [cpu, target, rec])
  })
  f.tailCall(links.link, [cpu, target, rec])
  return f.encode()
}

/** Leaves where the slice is over. */
function leaveAtEnd(f: FunctionBuilder, { left }: Pick<SwitchFrame, 'left'>): void {
  const cpu = f.param(0)
  f.if(f.pure('i32.lt_s', 'i32', [f.finalLocal(left), f.i32(0)]), () => {
    f.store('i64.store', cpu, f.load('i64.load', 'i64', cpu, offsetOf('blockRip')), offsetOf('rip'))
    f.return(f.i32(Exit.SLICE))
  })
}

/** Counts an entry where the record is a block's head, and goes on with its first instruction. */
function enterHead(f: FunctionBuilder, { rec, slot }: Pick<SwitchFrame, 'rec' | 'slot'>, aside: BlockLabel): void {
  const at = f.finalLocal(rec)
  const isHead = f.pure('i32.eq', 'i32', [handlerOf(f, at), f.i32(PSEUDO_SLOTS.head)])
  f.if(isHead, () => {
    const entries = f.pure('i32.sub', 'i32', [f.load('i32.load', 'i32', at, Head.entries), f.i32(1)])
    f.if(f.pure('i32.eqz', 'i32', [entries]), () => {
      f.setLocal(slot, f.i32(PSEUDO_SLOTS.countedHead))
      f.jump(aside, 'break')
    })
    f.store('i32.store', at, entries, Head.entries)
    f.setLocal(rec, f.pure('i32.add', 'i32', [at, f.i32(RECORD_SIZE)]))
  })
}

function dispatch(f: FunctionBuilder, handlers: HandlerTable, links: HandlerLinks, frame: SwitchFrame): void {
  const { frequent } = handlers
  const labels: BlockLabel[] = []
  const handler = handlerOf(f, f.finalLocal(frame.rec))
  const nest = (k: number): void => {
    f.block((label) => {
      labels[k] = label
      if (k > 0) return nest(k - 1)
      const others = new Array(PSEUDO_SLOTS.frequent).fill(labels[frequent.length]) as BlockLabel[]
      f.switch(handler, [...others, ...labels])
    })
    if (k < frequent.length) f.scope(() => buildCase(f, handlers, links, frame, k))
  }
  nest(frequent.length)
  f.setLocal(frame.slot, handler)
  f.jump(frame.aside, 'break')
}

function buildCase(f: FunctionBuilder, handlers: HandlerTable, links: HandlerLinks, frame: SwitchFrame, k: number): void {
  const form = handlers.frequent[k]
  const { slot, places } = handlers.of(form)
  const e = new SwitchEmitter(f, links, form, places, frame, slot)
  e.begin()
  form.row.meaning(e, form)
  e.finish()
}

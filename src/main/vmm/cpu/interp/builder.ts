/** Builds tier 0: one wasm module with a handler for every form of the instruction table. */
import { FunctionBuilder } from '../emit/wasm/function'
import { buildHelperBody, helperType } from '../emit/wasm/helper-body'
import { ModuleBuilder, type FuncType } from '../emit/wasm/module'
import { Exit } from '../core/exits'
import type { Helper } from '../emit/emitter'
import { formsOf } from '../isa/forms'
import type { Form, InsnRow } from '../isa/types'
import { buildContinue, buildCrossingGuard, buildGoto, buildHead, buildLink, buildLookup, buildRaise, buildStopHere, buildUnitCheck } from './glue'
import { buildCodeRenewal } from './code-renewal'
import { buildEnter, buildFaultGate } from './fault-gate'
import { HandlerEmitter, type HandlerLinks } from './handler-emitter'
import { numberHandlers, type HandlerTable } from './handler-table'
import type { SlowPath } from './memory-emitter'
import type { OperandPlace } from './places'
import { RECORD_SIZE } from './record'
import { buildSwitch } from './switch/builder'
import { FILL_PARAMS, buildAccess, buildTlbFill } from './tlb-fill'

const i32s = (count: number): FuncType => ({ params: new Array(count).fill('i32') as 'i32'[], results: ['i32'] })

/** Helpers in use, with their import indices, found by building every meaning once. */
export class HelperImports {
  readonly list: Helper[] = []
  private readonly indices = new Map<string, number>()

  constructor(private readonly first: number) {}

  index(helper: Helper): number {
    const known = this.indices.get(helper.name)
    if (known !== undefined) {
      const other = this.list[known - this.first]
      if (other !== helper) throw new RangeError(`two helpers are named ${helper.name}`)
      return known
    }
    const index = this.first + this.list.length
    this.indices.set(helper.name, index)
    this.list.push(helper)
    return index
  }
}

/** Functions the module has before those of helpers: faults, jumps, pseudo-instructions, entry; then those of a TLB miss. */
const GLUE_FUNCTIONS = 19
const FILL = 13
/** The imports of slow paths that begin in wasm. */
const ACCESSES = ['load', 'store', 'probe', 'tstore', 'tprobe'] as const
const accessFunction = (firstGlue: number, name: (typeof ACCESSES)[number]): number => firstGlue + FILL + 1 + ACCESSES.indexOf(name)

/** Where a helper is called: its wasm function where it has a common case, else the import. */
class HelperFunctions {
  /** In the order they are defined, from the index given. */
  readonly bodies: readonly (readonly [Helper, Uint8Array])[]
  private readonly indices: ReadonlyMap<Helper, number>

  constructor(helpers: readonly Helper[], firstImport: number, firstBody: number) {
    const bodies: (readonly [Helper, Uint8Array])[] = []
    this.indices = new Map(helpers.map((h, i) => {
      const body = buildHelperBody(h, firstImport + i)
      return [h, body ? firstBody + bodies.push([h, body]) - 1 : firstImport + i]
    }))
    this.bodies = bodies
  }

  index(h: Helper): number {
    const index = this.indices.get(h)
    if (index === undefined) throw new RangeError(`helper ${h.name} was not found by the first pass`)
    return index
  }
}

export interface InterpreterModule {
  readonly bytes: Uint8Array
  /** Helpers the module imports from `helper`, by name. */
  readonly helpers: readonly Helper[]
  /** Table slots of what translated code calls: the module puts its imports there too. */
  readonly calls: CallSlots
  /** Slots the module fills, from 1. */
  readonly tableSize: number
}

export interface InterpreterOptions {
  /** Without the switch, as tests of the handlers need it: what the switch does, its forms' handlers do. */
  readonly handlersAlone?: boolean
}

/** Where translated code finds slow paths and helpers in the table. */
export interface CallSlots {
  readonly slow: Readonly<Record<SlowPath, number>>
  readonly loop: number
  readonly helper: ReadonlyMap<Helper, number>
}

/** Paths of translated code differ from those of tier 0: a store into code is refused, tier 0 makes it. */
export const SLOW_IMPORTS = ['load', 'store', 'probe', 'segment', 'unit', 'crossing', 'hot', 'tstore', 'tprobe', 'loop'] as const
const FIVE_ARGUMENTS: readonly string[] = ['load', 'store', 'probe', 'segment', 'tstore', 'tprobe']

/**
 * Builds the module. Imports: `env.memory`, `env.table`, `slow.*`, `helper.*`. Exports: `enter(cpu, rec) → exit`.
 * The handlers are placed in the imported table by an element segment starting at slot 1.
 */
export function buildInterpreter(rows: readonly InsnRow[], options: InterpreterOptions = {}): InterpreterModule {
  const handlers = numberHandlers(rows)
  // The number of helper imports shifts every later index, so meanings are built twice: first to learn the helpers.
  const dryImports = new HelperImports(SLOW_IMPORTS.length)
  const dry = fixedLinks(0, 0, dryImports)
  for (const row of rows) for (const form of formsOf(row)) layOutHandler(form, handlers.of(form).places, dry)
  return assemble(rows, handlers, dryImports.list, options.handlersAlone ?? false)
}

export function fixedLinks(handlerType: number, firstGlue: number, imports: HelperImports): HandlerLinks & { check: number; crossing: number; hot: number } {
  const access = (name: (typeof ACCESSES)[number]): number => accessFunction(firstGlue, name)
  const slow = { load: access('load'), store: access('store'), probe: access('probe'), commit: access('store'), segment: 3 }
  return { slow, check: 4, crossing: 5, hot: 6, handlerType, fault: firstGlue, goto: firstGlue + 2, link: firstGlue + 3, helper: (h) => imports.index(h) }
}

function declareImports(m: ModuleBuilder, helpers: readonly Helper[]): HelperImports {
  for (const name of SLOW_IMPORTS) m.importFunction('slow', name, i32s(FIVE_ARGUMENTS.includes(name) ? 5 : 2))
  for (const h of helpers) m.importFunction('helper', h.name, helperType(h))
  const imports = new HelperImports(SLOW_IMPORTS.length)
  for (const h of helpers) imports.index(h)
  return imports
}

function assemble(rows: readonly InsnRow[], handlers: HandlerTable, helpers: readonly Helper[], handlersAlone: boolean): InterpreterModule {
  const m = new ModuleBuilder()
  const imports = declareImports(m, helpers)
  const handlerFunc: FuncType = { params: ['i32', 'i32'], results: ['i32'] }
  const moveFunc: FuncType = { params: ['i32', 'i64', 'i32'], results: ['i32'] }
  const handlerType = m.typeIndex(handlerFunc)
  const firstGlue = SLOW_IMPORTS.length + helpers.length
  const functions = new HelperFunctions(helpers, SLOW_IMPORTS.length, firstGlue + GLUE_FUNCTIONS)
  const links = { ...fixedLinks(handlerType, firstGlue, imports), helper: (h: Helper) => functions.index(h) }

  const define: Define = (type, body, exportName) => {
    const index = m.defineFunction(type, exportName)
    m.setBody(index, body)
    return index
  }
  const lookup = firstGlue + 4
  define(handlerFunc, buildStopHere(Exit.FAULT))
  const resync = define(handlerFunc, buildStopHere(Exit.RESYNC))
  define(moveFunc, buildGoto(lookup))
  define(moveFunc, buildLink(lookup))
  define(moveFunc, buildLookup(handlerType))
  const next = define(handlerFunc, buildContinue(links.link, handlerType))
  const unitCheck = define(handlerFunc, buildUnitCheck(handlerType, links.check, links.fault, RECORD_SIZE))
  const raise = define(handlerFunc, buildRaise(links.fault))
  const crossing = define(handlerFunc, buildCrossingGuard(handlerType, links.crossing, links.fault, resync, RECORD_SIZE))
  const head = define(handlerFunc, buildHead(handlerType, links.hot, RECORD_SIZE))
  defineEntry(define, handlerFunc, handlerType, lookup)
  for (const [h, body] of functions.bodies) define(helperType(h), body)

  const built = new Map<Form, number>()
  for (const row of rows) {
    for (const form of formsOf(row)) built.set(form, define(handlerFunc, buildHandler(form, handlers.of(form).places, links)))
  }
  const ofFrequent = handlersAlone
    ? [head, ...handlers.frequent.map((form) => built.get(form) ?? resync)]
    : new Array<number>(1 + handlers.frequent.length).fill(define(handlerFunc, buildSwitch(handlers, links)))
  const elements = [resync, next, unitCheck, raise, crossing, head, ...ofFrequent, ...built.values()]
  const calls = placeCalls(elements, helpers, functions, firstGlue)
  m.setElements(elements)
  return { bytes: m.finish(65536, 1), helpers, calls, tableSize: elements.length + 1 }
}

type Define = (type: FuncType, body: Uint8Array, exportName?: string) => number

/** The entry with what it does of itself, then the functions of a TLB miss, in the order `accessFunction` counts on. */
function defineEntry(define: Define, handlerFunc: FuncType, handlerType: number, lookup: number): void {
  const gate = define(i32s(1), buildFaultGate())
  const renewal = define(i32s(3), buildCodeRenewal())
  define(handlerFunc, buildEnter(handlerType, { gate, renewal, lookup }), 'enter')
  const fill = define(i32s(FILL_PARAMS.length), buildTlbFill())
  for (const name of ACCESSES) define(i32s(5), buildAccess(!name.endsWith('store'), name !== 'load', fill, SLOW_IMPORTS.indexOf(name)))
}

/** Appends slow paths and helpers to the table's elements. Slot = position + 1. */
function placeCalls(elements: number[], helpers: readonly Helper[], functions: HelperFunctions, firstGlue: number): CallSlots {
  const place = (index: number): number => elements.push(index)
  const access = (name: (typeof ACCESSES)[number]): number => place(accessFunction(firstGlue, name))
  const slow = { load: access('load'), store: access('tstore'), probe: access('tprobe'), commit: access('store'), segment: place(3) }
  const loop = place(SLOW_IMPORTS.indexOf('loop'))
  const helper = new Map(helpers.map((h) => [h, place(functions.index(h))]))
  return { slow, loop, helper }
}

/** Goes through a form's meaning. `links` hears of what it uses; nothing is encoded yet. */
export function layOutHandler(form: Form, places: readonly OperandPlace[], links: HandlerLinks): FunctionBuilder {
  const f = new FunctionBuilder(['i32', 'i32'])
  const e = new HandlerEmitter(f, links, form, places)
  e.begin()
  form.row.meaning(e, form)
  e.finish()
  return f
}

const buildHandler = (form: Form, places: readonly OperandPlace[], links: HandlerLinks): Uint8Array => layOutHandler(form, places, links).encode()

/** Turns decoded blocks (tier 1) and the loops around them (tier 2) into one wasm module with a function for each. */
import type { Decode, DecodedInsn } from '../decode/types'
import { MAX_LENGTH } from '../decode/scanner'
import { BugError } from '../../errors'
import type { Helper } from '../emit/emitter'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { helperType } from '../emit/wasm/helper-body'
import { ModuleBuilder, type FuncType } from '../emit/wasm/module'
import type { CallSlots } from '../interp/builder'
import { buildGoto, buildLink, buildLookup, buildTranslatedFault } from '../interp/glue'
import type { OperandPlace } from '../interp/places'
import { RECORD_SIZE } from '../interp/record'
import type { Form } from '../isa/types'
import { PAGE_SIZE } from '../../memory/frame-table'
import { offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { BlockEmitter } from './block-emitter'
import { buildFlagCarry, buildFlagResult, buildLeave, buildStoreFlags } from './flag-code'
import { pageAt, type CodeWindow } from './code-window'
import { ACCESS_SLOT_SHIFT, type BlockLinks } from './insn-emitter'
import { OwnConstants, withoutConstants, type CodeRange, type ConstantPlace } from './own-constants'
import { findRegion, findWidestRegion } from './region'
import { RegionEmitter } from './region-emitter'
import type { RegionLinks } from './region-state'
import type { RegionCode, Shape } from './region-flow'
import type { CodeBlock } from './translation-job'

export interface TranslatorOptions {
  /** The machine's linear memory. */
  readonly bytes: Uint8Array
  readonly decode: Decode
  readonly places: (form: Form) => readonly OperandPlace[]
  readonly calls: CallSlots
  /** Jumps back after which tier 1 reports a loop; 0: never. */
  readonly hotLoopAfter: number
}

const I32 = 'i32'
const HANDLER: FuncType = { params: [I32, I32], results: [I32] }
const MOVE: FuncType = { params: [I32, 'i64', I32], results: [I32] }
const FLAG: FuncType = { params: [I32, 'i64', 'i64'], results: ['i64'] }
const STORE_FLAGS: FuncType = { params: [I32, I32, 'i64', 'i64'], results: [I32] }
const LEAVE: FuncType = { params: [I32, I32, I32, 'i64', 'i64'], results: [I32] }
const SLOW: FuncType = { params: [I32, I32, I32, I32, I32], results: [I32] }

/** Functions every module begins with, in this order. */
const GLUE = { fault: 0, goto: 1, link: 2, lookup: 3, flagCarry: 4, load: 5, store: 6, probe: 7, commit: 8, leave: 9, flagResult: 10, storeFlags: 11, report: 12 } as const
/** Name of a function that every module begins with. */
export const glueName = (index: number): string | undefined => Object.entries(GLUE).find(([, i]) => i === index)?.[0]
const ACCESS_PATHS = ['load', 'store', 'probe', 'commit'] as const

/** (cpu, linear, access | slot << ACCESS_SLOT_SHIFT) → status: one call for what every access would write out. */
function buildAccess(slowType: number, tableSlot: number): Uint8Array {
  const f = new FunctionBuilder([I32, 'i64', I32])
  const half = (shift: bigint): Node => f.pure('i32.wrap_i64', I32, [f.pure('i64.shr_u', 'i64', [f.param(1), f.i64(shift)])])
  const access = f.pure('i32.and', I32, [f.param(2), f.i32((1 << ACCESS_SLOT_SHIFT) - 1)])
  const slot = f.pure('i32.shr_u', I32, [f.param(2), f.i32(ACCESS_SLOT_SHIFT)])
  f.return(f.callIndirect(slowType, I32, [f.param(0), half(0n), half(32n), access, slot], f.i32(tableSlot)))
  return f.encode()
}

/** (cpu, rip, head) → 0: reports a hot loop. Who is told looks at `blockRip` for the head's address. */
function buildReport(handlerType: number, tableSlot: number): Uint8Array {
  const f = new FunctionBuilder([I32, 'i64', I32])
  f.store('i64.store', f.param(0), f.param(1), offsetOf('blockRip'))
  f.callIndirect(handlerType, I32, [f.param(0), f.param(2)], f.i32(tableSlot))
  f.return(f.i32(0))
  return f.encode()
}

/** What a function was made from and needs: enough to use it in another machine that holds the same code. */
export interface TranslatedFunction {
  readonly kind: 'block' | 'region'
  readonly modeKey: number
  /** Byte offset of its head in the page. */
  readonly pageOffset: number
  /** Page offsets of the blocks whose place it takes, its head first. */
  readonly entries: readonly number[]
  /** The bytes of guest code. */
  readonly ranges: readonly CodeRange[]
  /** Constants in its code that it reads from the list its head record names; they are in none of the ranges. */
  readonly constants: readonly ConstantPlace[]
  /** The head's records as `shapeOf` tells them: a block addresses them by place. Empty for regions. */
  readonly shape: string
  /** Locals and code of the wasm function. */
  readonly body: Uint8Array
  /** Which way its branches mostly go, see `ModuleBuilder.setBody`. */
  readonly hints: Uint8Array
}

/** Kind and place of each of a block's records. */
export const shapeOf = ({ records }: Pick<CodeBlock, 'records'>): string => records.map(({ kind, delta }) => `${kind[0]}${delta}`).join(' ')

/** A module in the making: functions are added one by one, and stand in the table in that order. */
export interface ModuleDraft {
  readonly functions: readonly TranslatedFunction[]
  /** Translates a block. Undefined where its bytes are no longer the code that was decoded, and nothing was added. */
  add(block: CodeBlock): TranslatedFunction | undefined
  /**
   * Translates the code around a hot head.
   * @param window the pages it may be made from
   * @returns undefined where there is nothing of that shape, and nothing was added. Its head may lie below the block's: that of a loop around it
   */
  addRegion(block: CodeBlock, window: CodeWindow, shape: Shape): TranslatedFunction | undefined
  /** A function translated before, by this version of the translator. */
  addTranslated(made: TranslatedFunction): void
  /** Module bytes; the element segment puts function i at slot `env.base` + i. */
  finish(): Uint8Array
}

const missing = (h: Helper): never => { throw new BugError(`helper ${h.name} has no type`) }

export class Translator {
  private readonly flagCarry = buildFlagCarry()
  private readonly flagResult = buildFlagResult()
  private readonly storeFlags = buildStoreFlags()
  private readonly leave = buildLeave(GLUE.fault, GLUE.storeFlags)
  /** Types of the helpers, each once: bodies name types by number, so every module has the same ones in the same order. */
  private readonly helperTypes: readonly FuncType[]
  private readonly typeOfHelper = new Map<Helper, FuncType>()

  constructor(private readonly options: TranslatorOptions) {
    const known = new Map<string, FuncType>()
    for (const h of options.calls.helper.keys()) {
      const key = `${h.args.join()}:${h.returns ?? ''}`
      const type = known.get(key) ?? helperType(h)
      known.set(key, type)
      this.typeOfHelper.set(h, type)
    }
    this.helperTypes = [...known.values()]
  }

  /** The machine's linear memory. */
  get memory(): Uint8Array {
    return this.options.bytes
  }

  /** As the machine decodes. */
  get decode(): Decode {
    return this.options.decode
  }

  /** Adds the functions every module begins with (`GLUE`). Returns what blocks and regions call. */
  private addGlue(m: ModuleBuilder): RegionLinks {
    const [handlerType, , , slowType] = [HANDLER, MOVE, FLAG, SLOW].map((type) => m.typeIndex(type))
    const typeIndices = new Map<FuncType | undefined, number>(this.helperTypes.map((type) => [type, m.typeIndex(type)]))
    const define = (type: FuncType, body: Uint8Array): void => m.setBody(m.defineFunction(type), body)
    define(HANDLER, buildTranslatedFault(handlerType))
    define(MOVE, buildGoto(GLUE.lookup))
    define(MOVE, buildLink(GLUE.lookup))
    define(MOVE, buildLookup(handlerType))
    define(FLAG, this.flagCarry)
    for (const path of ACCESS_PATHS) define(MOVE, buildAccess(slowType, this.options.calls.slow[path]))
    define(LEAVE, this.leave)
    define(FLAG, this.flagResult)
    define(STORE_FLAGS, this.storeFlags)
    define(MOVE, buildReport(handlerType, this.options.calls.loop))
    return {
      ...GLUE, calls: this.options.calls, hotLoopAfter: this.options.hotLoopAfter, handlerType, slowType,
      helperType: (h: Helper) => typeIndices.get(this.typeOfHelper.get(h)) ?? missing(h),
    }
  }

  begin(): ModuleDraft {
    const m = new ModuleBuilder()
    const links = this.addGlue(m)
    const indices: number[] = []
    const functions: TranslatedFunction[] = []
    const add = (made: TranslatedFunction): void => {
      const index = m.defineFunction(HANDLER)
      m.setBody(index, made.body, made.hints)
      indices.push(index)
      functions.push(made)
    }
    const kept = (made: TranslatedFunction | undefined): TranslatedFunction | undefined => {
      if (made) add(made)
      return made
    }
    return {
      functions,
      add: (block) => kept(this.block(block, links)),
      addRegion: (block, window, shape) => kept(this.region(block, links, window, shape)),
      addTranslated: add,
      finish: () => {
        m.setElements(indices)
        return m.finish(65536, 'imported')
      },
    }
  }

  private region({ modeKey, pageOffset: hot }: CodeBlock, links: RegionLinks, window: CodeWindow, shape: Shape): TranslatedFunction | undefined {
    const decode = (offset: number): DecodedInsn | undefined => {
      const bytes = window.from(offset)
      const result = bytes && this.options.decode(bytes, 0, bytes.length, modeKey)
      if (!result?.ok || (result.insn.row.unit && (modeKey & Mode.FPU_TRAP) !== 0)) return undefined
      return result.insn
    }
    const code: RegionCode = { decode, warm: (offset) => window.isWarm(offset), wentTo: (offset) => window.wentTo(offset) }
    const found = findWidestRegion((head) => (head === hot || window.isWarm(head) ? findRegion(code, head, shape) : undefined), hot)
    if (!found) return undefined
    const { head: pageOffset, region } = found
    const f = new FunctionBuilder([I32, I32])
    const constants = new OwnConstants(modeKey, (offset) => window.from(offset))
    new RegionEmitter(f, links, { modeKey, pageOffset, constants }, region, this.options.places).build()
    const ranges = region.blocks.flatMap(({ offset, end, insns }) => withoutConstants(window.ranges(offset, end), constants.within(insns.map((insn) => insn.offset))))
    return { kind: 'region', modeKey, pageOffset, entries: region.entries, ranges, constants: constants.places, shape: '', body: f.encode(), hints: f.hints }
  }

  private block(block: CodeBlock, links: BlockLinks): TranslatedFunction | undefined {
    const { modeKey, pageOffset, host } = block
    const page = pageAt(this.memory, host)
    const f = new FunctionBuilder([I32, I32])
    const constants = new OwnConstants(modeKey, (offset) => page.subarray(offset, offset + MAX_LENGTH))
    const e = new BlockEmitter(f, links, { modeKey, pageOffset, constants })
    let length = 0
    let changed = false
    e.build(() => {
      for (const record of block.records) {
        if (record.kind === 'next') return e.fallThrough(record.offset, record.delta, record.count)
        if (record.kind === 'other') return e.continueInTier0(record.offset)
        const at = pageOffset + record.delta
        const result = this.options.decode(page, at, PAGE_SIZE - at, modeKey)
        if (!result.ok) {
          changed = true
          return
        }
        const { insn } = result
        length = record.delta + insn.length
        if (!e.insn({ insn, places: this.options.places(insn.form), record: record.offset, next: record.offset + RECORD_SIZE, delta: record.delta, count: record.count })) return
      }
    })
    if (changed) return undefined
    const ranges = withoutConstants([{ page: 0, offset: pageOffset, bytes: page.slice(pageOffset, pageOffset + length) }], constants.places)
    return { kind: 'block', modeKey, pageOffset, entries: [pageOffset], ranges, constants: constants.places, shape: shapeOf(block), body: f.encode(), hints: f.hints }
  }
}

/** One virtual CPU: state block, TLB, decoded code, and the loop that runs blocks and delivers events. */
import { BugError } from '../../errors'
import type { IoHandler } from '../../bus/types'
import { Frame } from '../../memory/frame-table'
import type { PhysicalRam } from '../../memory/guest-memory'
import { checkSegment } from '../../mmu/segment'
import { SoftTlb, Translation } from '../../mmu/soft-tlb'
import { TLB_VIEWS, TlbView } from '../../mmu/tlb-layout'
import { PageWalker } from '../../mmu/walk'
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'
import { instructionBreakpoints, isRepeatedString } from '../events/breakpoints'
import { deliverEvent, type EventKind } from '../events/deliver'
import { QuickDelivery } from '../events/quick'
import { decodeBy } from '../decode/decode'
import type { Decode } from '../decode/types'
import { MAX_LENGTH, Scan, type InsnScanner } from '../decode/scanner'
import type { Helper } from '../emit/emitter'
import { CodeCache, type TranslationThread } from '../dbt/code-cache'
import { Translator } from '../dbt/translator'
import type { CallSlots } from '../interp/builder'
import { DecodeCache, type BlockSource } from '../interp/decode-cache'
import type { HandlerSlots } from '../interp/record-writer'
import { createSlowPaths, notePendingFault } from '../interp/slow-paths'
import { CpuState } from '../state/access'
import { STATE_SIZE, offsetOf } from '../state/layout'
import { Mode, updateDerivedState, updatePrivilege } from '../state/mode'
import { AccessChecks } from './access-checks'
import { CodeFinder } from './code-finder'
import { CpuFault, Vector, type CpuContext, type CpuModel, type CpuPlatform } from './context'
import type { ExactControl } from './exact-run'
import { Exit } from './exits'
import { CpuLinearMemory } from './linear'

/** What the interrupt controllers show to one CPU. When it may have changed, they have `requestExit` called. */
export interface InterruptSource {
  /** Vector that would be taken now if interrupts were enabled, -1 none. */
  pendingVector(): number
  /** Takes it: the controller moves it from requested to in service. */
  acknowledge(): number
  /** True once for each NMI that came. */
  takeNmi(): boolean
}

/** Places in linear memory given to one vCPU, byte offsets. */
export interface VcpuLayout {
  readonly state: number
  readonly tlb: number
  readonly codeTlb: number
  readonly decodeCache: number
  readonly decodeCacheBytes: number
}

export interface VcpuOptions {
  readonly memory: WasmMemory
  readonly layout: VcpuLayout
  readonly ram: PhysicalRam
  readonly mmio: IoHandler
  readonly platform: CpuPlatform
  readonly model: CpuModel
  readonly interrupts: InterruptSource
  /** Decodes guest code, for this vCPU alone. */
  readonly scanner: InsnScanner
  readonly slots: HandlerSlots
  readonly wasm: WasmEngine
  /** Compiled tier 0 module, the helpers it imports, and where it puts them in the table. */
  readonly interpreter: { readonly module: unknown; readonly helpers: readonly Helper[]; readonly calls: CallSlots; readonly tableSize: number }
  /** Default: tier 0 alone. */
  readonly tiers?: TierOptions
}

export interface TierOptions {
  /** Highest tier used: 0 interprets only. */
  readonly max: 0 | 1 | 2
  /** Entries after which a block is translated. */
  readonly hotAfter: number
  /** Jumps back by one branch of tier 1 after which the loop is translated as a region. */
  readonly hotLoopAfter: number
  /** Blocks compiled at once. */
  readonly batch: number
  /** Host time in nanoseconds, for figures. */
  readonly now: () => number
  /** Where translation is done beside the guest; default: between two entries into generated code. */
  readonly background?: TranslationThread
}

export interface VcpuCounters {
  instructions: number
  exceptions: number
  interrupts: number
  exits: Record<keyof typeof Exit, number>
  unimplemented: Map<string, number>
}

/** A place in guest code. */
export interface CpuSpot {
  /** Linear address of RIP, as halves. */
  readonly lo: number
  readonly hi: number
  readonly modeKey: number
  readonly cpl: number
  /** Tier that runs the code there; where none has it yet, 0. */
  readonly tier: 0 | 1 | 2
  /** Guest frame that holds it, -1 where it was not decoded. */
  readonly page: number
}

type EnterFunction = (cpu: number, rec: number) => number

/** `intShadow` after MOV SS and POP SS. */
const SHADOW_SS = 2
const FLAG_TF = 1 << 8
const FLAG_IF = 1 << 9
const FLAG_RF = 1 << 16
const DR6_SINGLE_STEP = 1 << 14

// What every exit looks at: by offset, for lookups by name cost more than all the rest of an exit.
const AT_SLICE_LEFT = offsetOf('sliceLeft')
const AT_RFLAGS = offsetOf('rflags')
const AT_MODE_KEY = offsetOf('modeKey')
const AT_INT_SHADOW = offsetOf('intShadow')
const AT_PENDING_DEBUG = offsetOf('pendingDebug')
const AT_HALTED = offsetOf('halted')
const AT_FAULT_VECTOR = offsetOf('faultVector')
const AT_FAULT_ERROR = offsetOf('faultError')
const AT_FAULT_HAS_ERROR = offsetOf('faultHasError')
const AT_NMI_BLOCKED = offsetOf('nmiBlocked')
const AT_TLB_BASE = offsetOf('tlbBase')
const AT_VIEW_BASES = offsetOf('viewBases')
const AT_INTERRUPT_WAITS = offsetOf('interruptWaits')

export type RunResult = 'slice' | 'halted'

export class Vcpu implements CpuContext {
  readonly state: CpuState
  readonly memory: CpuLinearMemory
  readonly platform: CpuPlatform
  readonly model: CpuModel
  readonly tlb: SoftTlb
  readonly counters: VcpuCounters = {
    instructions: 0, exceptions: 0, interrupts: 0, exits: { SLICE: 0, LOOKUP: 0, FAULT: 0, RESYNC: 0, AGAIN: 0 }, unimplemented: new Map(),
  }
  readonly cache: DecodeCache
  private readonly checks: AccessChecks
  readonly translations: CodeCache | undefined
  readonly walker: PageWalker
  private enter: EnterFunction
  private readonly code: CodeFinder
  private readonly bytes: Uint8Array
  /** Instructions granted but put aside by `requestExit`. */
  private stash = 0
  private granted = 0
  /** The instruction just run was a software interrupt. */
  private softwareInterrupt = false
  /** Translated code refused the instruction at RIP: it is run alone. */
  private again = false
  private hostError: { readonly error: unknown } | undefined
  private readonly quick: QuickDelivery
  /** Set while a run must end at an exact place. */
  exact: ExactControl | undefined

  constructor(private readonly options: VcpuOptions) {
    const { buffer } = options.memory
    this.state = new CpuState(buffer, options.layout.state)
    this.bytes = new Uint8Array(buffer)
    this.platform = options.platform
    this.model = options.model
    this.walker = new PageWalker(options.ram, this.state, options.model.physicalAddressBits)
    this.tlb = new SoftTlb(buffer, options.layout.tlb, this.walker, options.ram, this.state)
    this.memory = new CpuLinearMemory(buffer, this.tlb, options.ram, options.mmio, this.state)
    this.quick = new QuickDelivery(buffer, this.state, this.tlb)
    this.cache = new DecodeCache({
      buffer, base: options.layout.decodeCache, bytes: options.layout.decodeCacheBytes, scanner: options.scanner,
      slots: options.slots, hotAfter: options.tiers && options.tiers.max > 0 ? options.tiers.hotAfter : 0,
      onDecoded: (head, code, offset) => this.translations?.adopt(head, code.modeKey, code.page, offset),
      onDropped: (tableSlots) => this.translations?.drop(tableSlots),
    })
    this.code = new CodeFinder({
      ...options, buffer, state: this.state, memory: this.memory, walker: this.walker, tlb: this.tlb, cache: this.cache,
      codeTlb: options.layout.codeTlb,
    })
    this.checks = new AccessChecks(this.state, this.tlb)
    this.memory.checks = this.checks
    const table = options.wasm.createTable(options.interpreter.tableSize)
    this.enter = this.instantiate(table)
    this.translations = options.tiers && options.tiers.max > 0 ? this.createCodeCache(options.tiers, table) : undefined
  }

  private newTable(): WasmTable {
    const table = this.options.wasm.createTable(this.options.interpreter.tableSize)
    this.enter = this.instantiate(table)
    return table
  }

  /** Links tier 0 with this machine's memory, a table of its own, the slow paths and the helpers. */
  private instantiate(table: WasmTable): EnterFunction {
    const { wasm, memory, interpreter } = this.options
    const slow = createSlowPaths({
      state: this.state, memory: this.memory, mmio: this.options.mmio,
      checkSegment: (segment, ea, bytes, write) => checkSegment(this, segment, ea, bytes, write),
      checkUnit: (unit) => this.checkUnit(unit),
      checkCrossing: (rec) => this.checkCrossing(rec),
      onHot: (head) => this.noteHot(head),
      onHotLoop: (head) => this.noteHotLoop(head),
      holdsCode: (page, offset, length) => this.cache.holds(page, offset, length),
      onError: (error) => this.noteHostError(error),
    })
    const helper: Record<string, unknown> = {}
    for (const h of interpreter.helpers) helper[h.name] = this.wrapHelper(h)
    const instance = wasm.instantiate(interpreter.module, { env: { memory, table }, slow: this.checks.around(slow) as unknown as Record<string, unknown>, helper })
    return instance.exports.enter as EnterFunction
  }

  private createCodeCache(tiers: TierOptions, table: WasmTable): CodeCache {
    const { wasm, memory, interpreter, scanner, slots, ram } = this.options
    const translator = new Translator({
      bytes: this.bytes, decode: decodeBy(scanner), places: (form) => slots.of(form).places, calls: interpreter.calls, hotLoopAfter: tiers.max > 1 ? tiers.hotLoopAfter : 0,
    })
    return new CodeCache({
      wasm, memory, newTable: () => this.newTable(), cache: this.cache, translator, batch: tiers.batch, hotAfter: tiers.hotAfter, now: tiers.now,
      hostOfPage: (page) => ram.frames.hostOffset(page), surroundings: () => this.code.surroundings(), regions: tiers.max > 1, ...(tiers.background ? { background: tiers.background } : {}),
    }, table)
  }

  /** Decodes as this CPU does. */
  get decode(): Decode {
    return decodeBy(this.options.scanner)
  }

  /** The block at RIP, decoded; undefined where it cannot be translated. For tests and comparisons of tiers. Throws CpuFault. */
  blockHere(): BlockSource | undefined {
    return this.cache.blockAt(this.resolve(false))
  }

  /** A full batch is translated at once, a smaller one when the slice is over. */
  private noteHot(head: number): void {
    if (this.translations?.noteHot(head)) this.requestExit()
  }

  private noteHotLoop(head: number): void {
    if (this.translations?.noteHotLoop(head)) this.requestExit()
  }

  private translateHot(): void {
    const { translations } = this
    if (!translations) return
    if (translations.full) this.dropCode(false)
    else translations.translateHot()
  }

  /** Forgets all decoded code, and translations unless they are to be kept. Only between two entries into generated code. */
  private dropCode(keep: boolean): void {
    this.translations?.forgetAll(keep)
    this.cache.clear()
    this.code.lookup.flush(false)
  }

  /** Gives a helper its context and unsigned arguments; turns its faults into a pending exception. */
  private wrapHelper(h: Helper): (cpu: number, ...args: (number | bigint)[]) => number | bigint | void {
    const run = h.run as (cpu: CpuContext, ...args: (number | bigint)[]) => number | bigint | void
    const none = h.returns === 'i64' ? 0n : 0
    const fail = (error: unknown): number | bigint => {
      if (error instanceof CpuFault) notePendingFault(this.state, error)
      else this.noteHostError(error)
      return none
    }
    const unsigned = (arg: number | bigint): number | bigint => (typeof arg === 'bigint' ? BigInt.asUintN(64, arg) : arg >>> 0)
    if (h.args.length > 4) {
      return (_cpu, ...args) => {
        try {
          return run(this, ...args.map(unsigned))
        } catch (error) {
          return fail(error)
        }
      }
    }
    // Few arguments, as nearly all have: no array is made for them.
    if (!h.args.includes('i64')) {
      return (_cpu, a, b, c, d) => {
        try {
          return run(this, (a as number) >>> 0, (b as number) >>> 0, (c as number) >>> 0, (d as number) >>> 0)
        } catch (error) {
          return fail(error)
        }
      }
    }
    return (_cpu, a, b, c, d) => {
      try {
        return run(this, unsigned(a), unsigned(b), unsigned(c), unsigned(d))
      } catch (error) {
        return fail(error)
      }
    }
  }

  /** Keeps an error of ours or of the host, and makes generated code come back at once. */
  private noteHostError(error: unknown): void {
    this.hostError ??= { error }
    this.state.set('faultVector', Vector.GP)
    this.requestExit()
  }

  // ── CpuContext ────────────────────────────────────────────────────────────────────────────────────────────────

  flushTlb(keepGlobal: boolean): void {
    this.tlb.flush(keepGlobal)
    this.code.lookup.flush(keepGlobal)
  }

  enterAddressSpace(pcid: number, keep: boolean): void {
    this.tlb.enterSpace(pcid, keep)
    this.code.lookup.enterSpace(pcid, keep)
  }

  invalidatePage(linear: bigint, everySpace = false): void {
    const lo = Number(linear & 0xffff_ffffn)
    const hi = Number((linear >> 32n) & 0xffff_ffffn)
    this.tlb.invalidatePage(lo, hi, everySpace)
    this.code.lookup.invalidatePage(lo, hi)
  }

  modeChanged(): void {
    updateDerivedState(this.state)
    this.modeUpdated()
  }

  privilegeChanged(): void {
    if (!updatePrivilege(this.state)) updateDerivedState(this.state)
    this.modeUpdated()
  }

  private modeUpdated(): void {
    const { view } = this.state
    this.checks.update()
    this.tlb.modeChanged()
    for (let i = 0; i < TLB_VIEWS; i++) view.setInt32(AT_VIEW_BASES + i * 4, this.tlb.viewBase(i), true)
    view.setInt32(AT_TLB_BASE, this.tlb.viewBase(this.memory.currentView()), true)
    this.code.selectTable(!this.checks.armed)
    const rflags = view.getInt32(AT_RFLAGS, true)
    const single = (view.getInt32(AT_MODE_KEY, true) & Mode.SINGLE_STEP) !== 0
    // RF ends with the next instruction. Where no breakpoint is armed nobody would see to that, and it has nothing to hold off.
    if (!single && (rflags & FLAG_RF) !== 0) view.setInt32(AT_RFLAGS, rflags & ~FLAG_RF, true)
    const waits = (rflags & FLAG_IF) !== 0 && this.interruptWaits()
    if (waits || single) this.requestExit()
  }

  /** An interrupt that waits is taken after the instruction that follows STI; where none does, STI casts no shadow. */
  interruptsEnabled(): void {
    if (!this.interruptWaits()) return
    this.state.set('intShadow', 1)
    this.requestExit()
  }

  /** Asks the controllers only after something asked for an exit: whoever has an interrupt does. */
  private interruptWaits(): boolean {
    const { view } = this.state
    if (view.getInt32(AT_INTERRUPT_WAITS, true) === 0) return false
    if (this.options.interrupts.pendingVector() >= 0) return true
    view.setInt32(AT_INTERRUPT_WAITS, 0, true)
    return false
  }

  loadPdptes(cr3: number): boolean {
    return this.walker.loadPdptes(cr3)
  }

  noteSoftwareInterrupt(): void {
    this.softwareInterrupt = true
  }

  noteUnimplemented(name: string): void {
    this.counters.unimplemented.set(name, (this.counters.unimplemented.get(name) ?? 0) + 1)
  }

  /** Power-on or reset is the caller's work on `state`; this drops everything derived from it. */
  afterReset(): void {
    this.flushTlb(false)
    this.dropCode(false)
    this.code.lookup.reset()
    this.walker.forgetPdptes()
    this.state.set('faultVector', -1)
    this.state.set('interruptWaits', 1)
    this.modeChanged()
  }

  /** Code of the running machine changed: called for every write into a frame that holds decoded code. */
  codeWritten(page: number, offset: number, length: number): void {
    if (!this.cache.invalidate(page, offset, length)) return
    this.code.lookup.newEpoch(false)
    if (!this.cache.hasCode(page)) this.options.ram.frames.clearFlags(page, Frame.CODE)
  }

  /** Record for the current RIP, decoding if needed. `single`: a block of one instruction. Throws CpuFault. */
  private resolve(single: boolean): number {
    if (!this.cache.hasRoom()) this.dropCode(true)
    return this.code.resolve(single)
  }

  /** Called by the guard of a page-crossing instruction. 0: go on, 1: fault pending, 2: the second page changed. */
  private checkCrossing(rec: number): number {
    try {
      return this.code.crossingHolds(rec) ? 0 : 2
    } catch (error) {
      if (error instanceof CpuFault) notePendingFault(this.state, error)
      else this.noteHostError(error)
      return 1
    }
  }

  private checkUnit(unit: number): void {
    const cr0 = this.state.lo('cr0')
    const em = (cr0 & 4) !== 0
    const ts = (cr0 & 8) !== 0
    if (unit === 0) {
      if (em || ts) throw new CpuFault(Vector.NM)
      return
    }
    if (em || (unit === 2 && (this.state.lo('cr4') & 0x200) === 0)) throw new CpuFault(Vector.UD)
    if (ts) throw new CpuFault(Vector.NM)
  }

  // ── running ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Makes generated code return at the next block head; what is left of the slice is kept. An interrupt may wait afterwards. */
  requestExit(): void {
    const { view } = this.state
    view.setInt32(AT_INTERRUPT_WAITS, 1, true)
    if (this.exact) this.exact.asked = true
    const left = view.getInt32(AT_SLICE_LEFT, true)
    if (left < 0) return
    this.stash += left + 1
    view.setInt32(AT_SLICE_LEFT, -1, true)
  }

  /** Instructions executed since `run` was called, counting the part of the slice in progress. */
  executedInSlice(): number {
    return this.granted - this.stash - this.state.view.getInt32(AT_SLICE_LEFT, true)
  }

  /** Runs up to about `instructions` instructions; comes back early when the CPU halts. */
  run(instructions: number): RunResult {
    const { view } = this.state
    this.granted = instructions
    this.stash = instructions
    view.setInt32(AT_SLICE_LEFT, 0, true)
    try {
      return this.steps()
    } finally {
      // Also where the host failed: whoever can mend that runs the CPU again, from before the instruction.
      this.counters.instructions += this.executedInSlice()
      this.granted = this.stash + view.getInt32(AT_SLICE_LEFT, true)
    }
  }

  private steps(): RunResult {
    const { view } = this.state
    let result: RunResult = 'slice'
    for (;;) {
      const left = this.stash + view.getInt32(AT_SLICE_LEFT, true)
      if (left <= 0) break
      view.setInt32(AT_SLICE_LEFT, left, true)
      this.stash = 0
      if (!this.step()) {
        result = 'halted'
        break
      }
      if (this.hostError) this.throwHostError(this.hostError.error)
      if (this.exact && this.endsHere(this.exact)) break
      if (this.translations?.due) this.translateHot()
    }
    if (this.translations?.sliceEnded(result === 'halted')) this.translateHot()
    return result
  }

  private throwHostError(error: unknown): never {
    this.hostError = undefined
    throw error
  }

  /** After each entry of an exact run. */
  private endsHere(exact: ExactControl): boolean {
    exact.holdEvents = true
    return exact.single || (exact.asked && this.executedInSlice() > 0)
  }

  /** Delivers what is due and enters generated code once. False: halted. */
  private step(): boolean {
    const { view, base } = this.state
    const held = view.getInt32(AT_INT_SHADOW, true)
    if (view.getInt32(AT_PENDING_DEBUG, true) !== 0 && held !== SHADOW_SS) this.debugTrap()
    if (held === 0 && !this.exact?.holdEvents) this.takeEvents()
    if (view.getInt32(AT_HALTED, true) !== 0) return false
    const shadow = view.getInt32(AT_INT_SHADOW, true)
    const trap = (view.getInt32(AT_RFLAGS, true) & FLAG_TF) !== 0
    const single = shadow !== 0 || this.again || this.exact?.single === true || (view.getInt32(AT_MODE_KEY, true) & Mode.SINGLE_STEP) !== 0
    try {
      if (single && shadow !== SHADOW_SS && this.breaksHere()) return true
      this.exact?.onEntry?.()
      const rec = this.resolve(single)
      if (single) {
        this.stash += view.getInt32(AT_SLICE_LEFT, true)
        view.setInt32(AT_SLICE_LEFT, 0, true)
      }
      if (shadow !== 0) view.setInt32(AT_INT_SHADOW, 0, true)
      this.again = false
      this.softwareInterrupt = false
      const resumed = single && (view.getInt32(AT_RFLAGS, true) & FLAG_RF) !== 0
      const exit = resumed ? this.enterResumed(rec) : this.enter(base, rec)
      this.handleExit(exit, trap)
    } catch (error) {
      if (!(error instanceof CpuFault)) throw error
      this.raise(error.vector, error.errorCode)
    }
    return true
  }

  /** One instruction with RF set: it ends with the instruction, which for a repeated string is many entries. SDM vol. 3, 18.3.1.1. */
  private enterResumed(rec: number): number {
    const { state } = this
    const rip = state.lo('rip')
    const clear = (): void => state.setLoHi('rflags', state.lo('rflags') & ~FLAG_RF, 0)
    const repeats = isRepeatedString(this.codeHere(), (state.get('modeKey') & Mode.CODE64) !== 0)
    if (!repeats) clear()
    const exit = this.enter(state.base, rec)
    if (repeats && state.lo('rip') !== rip) clear()
    return exit
  }

  private handleExit(exit: number, trap: boolean): void {
    const { exits } = this.counters
    switch (exit) {
      case Exit.SLICE: exits.SLICE++; break
      case Exit.LOOKUP: exits.LOOKUP++; break
      case Exit.RESYNC: exits.RESYNC++; break
      case Exit.AGAIN:
        exits.AGAIN++
        this.again = true
        return
      case Exit.FAULT: {
        exits.FAULT++
        const { view } = this.state
        const vector = view.getInt32(AT_FAULT_VECTOR, true)
        view.setInt32(AT_FAULT_VECTOR, -1, true)
        if (this.hostError) return
        if (vector === Vector.UD) this.noteUndefinedHere()
        return this.raise(vector, view.getInt32(AT_FAULT_HAS_ERROR, true) !== 0 ? view.getUint32(AT_FAULT_ERROR, true) : undefined)
      }
      default: throw new BugError(`generated code returned ${exit}`)
    }
    // A load of SS holds debug traps off too, until after the next instruction.
    if (trap && !this.softwareInterrupt && this.state.get('intShadow') !== SHADOW_SS) {
      this.state.set('pendingDebug', this.state.get('pendingDebug') | DR6_SINGLE_STEP)
    }
  }

  /** Instruction breakpoint at RIP: a #DB fault before the instruction. */
  private breaksHere(): boolean {
    const { state } = this
    const [lo, hi] = this.code.linearRip()
    const hits = instructionBreakpoints(state, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0))
    if (hits === 0) return false
    state.set64('dr', (state.get64('dr', 6) & ~0xfn) | BigInt(hits), 6)
    this.raise(Vector.DB)
    return true
  }

  /** The longest instruction's bytes at RIP; zeros from an unmapped page on. The guest sees nothing of it. */
  codeHere(): Uint8Array {
    const code = new Uint8Array(MAX_LENGTH)
    const [lo, hi] = this.code.linearRip()
    const linear = (BigInt(hi) << 32n) | BigInt(lo)
    const pending = this.state.get('pendingDebug')
    const cr2 = this.state.get64('cr2')
    try {
      this.memory.readBytes(linear, code, 'system')
    } catch (error) {
      if (!(error instanceof CpuFault)) throw error
    }
    this.state.set64('cr2', cr2)
    this.state.set('pendingDebug', pending)
    return code
  }

  /** Names the opcode at RIP if the table lacks it: what the guest executed, not what merely was decoded. */
  private noteUndefinedHere(): void {
    const code = this.codeHere()
    const { scanner } = this.options
    if (scanner.scan(code, 0, MAX_LENGTH, this.state.get('modeKey')) === Scan.UNDEFINED) this.noteUnimplemented(scanner.opcodeName())
  }

  /** What the last instruction met: data and port breakpoints, its own single step, a task that asks for it. */
  private debugTrap(): void {
    const { state } = this
    state.setLoHi('dr', state.lo('dr', 6) | state.get('pendingDebug'), 0, 6)
    state.set('pendingDebug', 0)
    this.counters.exceptions++
    this.deliver(Vector.DB, 'trap')
  }

  private raise(vector: number, errorCode?: number): void {
    this.counters.exceptions++
    this.state.view.setInt32(AT_PENDING_DEBUG, 0, true)
    this.deliver(vector, 'fault', errorCode)
  }

  private deliver(vector: number, kind: EventKind, errorCode?: number): void {
    this.state.view.setInt32(AT_HALTED, 0, true)
    if (!this.quick.deliver(vector, kind, errorCode)) deliverEvent(this, vector, kind, errorCode)
  }

  interruptQuickly(vector: number, returnRip: bigint): boolean {
    return this.quick.deliverSoftware(vector, returnRip)
  }

  private takeEvents(): void {
    const { view } = this.state
    const { interrupts } = this.options
    if (view.getInt32(AT_NMI_BLOCKED, true) === 0 && interrupts.takeNmi()) {
      view.setInt32(AT_NMI_BLOCKED, 1, true)
      this.counters.interrupts++
      return this.deliver(Vector.NMI, 'nmi')
    }
    if ((view.getInt32(AT_RFLAGS, true) & FLAG_IF) === 0 || !this.interruptWaits()) return
    this.counters.interrupts++
    this.deliver(interrupts.acknowledge(), 'interrupt')
  }

  /** Where the CPU stands, for sampling between two runs. Costs about a microsecond and changes nothing. */
  spot(): CpuSpot {
    const [lo, hi] = this.code.linearRip()
    const known = this.code.known()
    const tier = known && this.translations ? this.translations.tierOf(known.code, known.offset) : 0
    return { lo, hi, modeKey: this.state.get('modeKey'), cpl: this.state.get('cpl'), tier, page: known?.code.page ?? -1 }
  }

  /** Bytes of linear memory a vCPU block takes. */
  static readonly stateBytes = STATE_SIZE

  /** Translates without side effects on the TLB, for describing the machine. */
  peekTranslation(lo: number, hi: number): number {
    const host = this.tlb.translate(lo, hi, false, TlbView.SUPERVISOR)
    return host === Translation.FAULT ? -1 : host
  }
}

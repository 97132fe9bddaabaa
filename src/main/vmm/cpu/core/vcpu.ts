/** One virtual CPU: state block, TLB, decoded code, and the loop that runs blocks and delivers events. */
import { BugError } from '../../errors'
import { Frame } from '../../memory/frame-table'
import { checkSegment } from '../../mmu/segment'
import { SoftTlb, Translation } from '../../mmu/soft-tlb'
import { TLB_VIEWS, TlbView } from '../../mmu/tlb-layout'
import { PageWalker } from '../../mmu/walk'
import type { WasmTable } from '../../ports'
import { QuickDelivery } from '../events/quick'
import { decodeBy } from '../decode/decode'
import type { Decode } from '../decode/types'
import { CodeCache } from '../dbt/code-cache'
import { Translator } from '../dbt/translator'
import { DecodeCache, type BlockSource } from '../interp/decode-cache'
import { createSlowPaths, notePendingFault } from '../interp/slow-paths'
import { CpuState } from '../state/access'
import { STATE_SIZE, offsetOf } from '../state/layout'
import { Mode, updateDerivedState, updatePrivilege } from '../state/mode'
import { AccessChecks } from './access-checks'
import { CodeFinder } from './code-finder'
import { CpuFault, Vector, type CpuContext, type CpuModel, type CpuPlatform } from './context'
import { DebugUnit } from './debug-unit'
import { EventUnit } from './event-unit'
import type { ExactControl } from './exact-run'
import { Exit } from './exits'
import { helperCalls } from './helper-calls'
import { CpuLinearMemory } from './linear'
import { SliceMeter } from './slice-meter'
import type { CpuSpot, TierOptions, VcpuCounters, VcpuOptions } from './types'

type EnterFunction = (cpu: number, rec: number) => number

/** `intShadow` after MOV SS and POP SS. */
const SHADOW_SS = 2
const FLAG_TF = 1 << 8
const FLAG_IF = 1 << 9
const FLAG_RF = 1 << 16
const DR6_SINGLE_STEP = 1 << 14

// What every exit looks at: by offset, for lookups by name cost more than all the rest of an exit.
const AT_RFLAGS = offsetOf('rflags')
const AT_MODE_KEY = offsetOf('modeKey')
const AT_INT_SHADOW = offsetOf('intShadow')
const AT_PENDING_DEBUG = offsetOf('pendingDebug')
const AT_HALTED = offsetOf('halted')
const AT_FAULT_VECTOR = offsetOf('faultVector')
const AT_FAULT_ERROR = offsetOf('faultError')
const AT_FAULT_HAS_ERROR = offsetOf('faultHasError')
const AT_TLB_BASE = offsetOf('tlbBase')
const AT_VIEW_BASES = offsetOf('viewBases')
const AT_INTERRUPT_WAITS = offsetOf('interruptWaits')
const AT_GATE_FAULTS = offsetOf('gateFaults')
const AT_GATE_SHUT = offsetOf('gateShut')

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
  private readonly slice: SliceMeter
  /** The instruction just run was a software interrupt. */
  private softwareInterrupt = false
  /** Translated code refused the instruction at RIP: it is run alone. */
  private again = false
  private hostError: { readonly error: unknown } | undefined
  private readonly events: EventUnit
  private readonly debug: DebugUnit
  /** Since the way to user code was shut. */
  private userRan = true
  /** Set while a run must end at an exact place. */
  exact: ExactControl | undefined

  constructor(private readonly options: VcpuOptions) {
    const { buffer } = options.memory
    this.state = new CpuState(buffer, options.layout.state)
    this.bytes = new Uint8Array(buffer)
    this.slice = new SliceMeter(this.state.view)
    this.platform = options.platform
    this.model = options.model
    this.walker = new PageWalker(options.ram, this.state, options.model.physicalAddressBits)
    this.tlb = new SoftTlb(buffer, options.layout.tlb, this.walker, options.ram, this.state)
    this.memory = new CpuLinearMemory(buffer, this.tlb, options.ram, options.mmio, this.state)
    this.events = new EventUnit({
      cpu: this, interrupts: options.interrupts, quick: new QuickDelivery(buffer, this.state, this.tlb), counters: this.counters,
    })
    this.cache = new DecodeCache({
      buffer, base: options.layout.decodeCache, bytes: options.layout.decodeCacheBytes, scanner: options.scanner,
      slots: options.slots, hotAfter: options.tiers && options.tiers.max > 0 ? options.tiers.hotAfter : 0,
      onDecoded: (head, code, offset) => this.translations?.adopt(head, code.modeKey, code.page, offset),
      onDropped: (tableSlots) => this.translations?.drop(tableSlots),
      onDropping: (code) => this.translations?.noteLeaving(code),
    })
    this.code = new CodeFinder({
      ...options, buffer, state: this.state, memory: this.memory, walker: this.walker, tlb: this.tlb, cache: this.cache,
      codeTlb: options.layout.codeTlb,
    })
    this.debug = new DebugUnit({ state: this.state, memory: this.memory, code: this.code, scanner: options.scanner })
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
    const helper = helperCalls(interpreter.helpers, this, (error) => this.noteThrown(error))
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
      ...(tiers.mostFunctions === undefined ? {} : { mostFunctions: tiers.mostFunctions }),
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
    if (!translations.full) return translations.translateHot()
    this.dropCode(false)
    translations.beginAnew()
  }

  /** Forgets all decoded code, and translations unless they are to be kept. Only between two entries into generated code. */
  private dropCode(keep: boolean): void {
    this.translations?.forgetAll(keep)
    this.cache.clear()
    this.code.lookup.flush(false)
  }

  /** What a helper threw: faults of the guest become a pending exception. */
  private noteThrown(error: unknown): void {
    if (error instanceof CpuFault) notePendingFault(this.state, error)
    else this.noteHostError(error)
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
    this.putTables()
  }

  /** Puts the tables of the address space, the privilege and the mode in force. */
  private putTables(): void {
    const { view } = this.state
    for (let i = 0; i < TLB_VIEWS; i++) view.setInt32(AT_VIEW_BASES + i * 4, this.tlb.viewBase(i), true)
    view.setInt32(AT_TLB_BASE, this.tlb.viewBase(this.memory.currentView()), true)
    this.code.selectTable(!this.checks.armed)
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
    this.putTables()
    if ((view.getInt32(AT_MODE_KEY, true) & Mode.USER) !== 0) this.userRan = true
    const rflags = view.getInt32(AT_RFLAGS, true)
    const single = (view.getInt32(AT_MODE_KEY, true) & Mode.SINGLE_STEP) !== 0
    // RF ends with the next instruction. Where no breakpoint is armed nobody would see to that, and it has nothing to hold off.
    if (!single && (rflags & FLAG_RF) !== 0) view.setInt32(AT_RFLAGS, rflags & ~FLAG_RF, true)
    const waits = (rflags & FLAG_IF) !== 0 && this.events.waits()
    if (waits || single || this.checks.armed) this.requestExit()
  }

  /** An interrupt that waits is taken after the instruction that follows STI; where none does, STI casts no shadow. */
  interruptsEnabled(): void {
    if (!this.events.waits()) return
    this.state.set('intShadow', 1)
    this.requestExit()
  }

  loadPdptes(cr3: number): boolean {
    return this.walker.loadPdptes(cr3)
  }

  noteSoftwareInterrupt(): void {
    this.softwareInterrupt = true
  }

  noteUnimplemented(name: string): void {
    const { unimplemented } = this.counters
    const before = unimplemented.get(name) ?? 0
    unimplemented.set(name, before + 1)
    if (before === 0) this.options.onUnimplemented?.(name)
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
      this.noteThrown(error)
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
    this.state.view.setInt32(AT_INTERRUPT_WAITS, 1, true)
    if (this.exact) this.exact.asked = true
    this.slice.takeBack()
  }

  /** Instructions executed since `run` was called, counting the part of the slice in progress. */
  executedInSlice(): number {
    return this.slice.executed
  }

  /** Runs up to about `instructions` instructions; comes back early when the CPU halts. */
  run(instructions: number): RunResult {
    const { view } = this.state
    this.slice.grant(instructions)
    // Between two entries nobody looks, unless asked to.
    view.setInt32(AT_GATE_SHUT, this.exact?.single === true || this.exact?.onEntry ? 1 : 0, true)
    try {
      return this.steps()
    } finally {
      // Also where the host failed: whoever can mend that runs the CPU again, from before the instruction.
      this.counters.instructions += this.slice.executed
      this.counters.exceptions += view.getInt32(AT_GATE_FAULTS, true)
      view.setInt32(AT_GATE_FAULTS, 0, true)
      this.slice.end()
    }
  }

  private steps(): RunResult {
    let result: RunResult = 'slice'
    while (this.slice.handOut()) {
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
    return exact.single || (exact.asked && this.slice.executed > 0)
  }

  /** Delivers what is due and enters generated code once. False: halted. */
  private step(): boolean {
    const { view, base } = this.state
    const held = view.getInt32(AT_INT_SHADOW, true)
    if (view.getInt32(AT_PENDING_DEBUG, true) !== 0 && held !== SHADOW_SS) this.events.debugTrap()
    if (held === 0 && !this.exact?.holdEvents) this.events.take()
    if (view.getInt32(AT_HALTED, true) !== 0) return false
    const shadow = view.getInt32(AT_INT_SHADOW, true)
    const trap = (view.getInt32(AT_RFLAGS, true) & FLAG_TF) !== 0
    const single = shadow !== 0 || this.again || this.exact?.single === true || (view.getInt32(AT_MODE_KEY, true) & Mode.SINGLE_STEP) !== 0
    try {
      if (single && shadow !== SHADOW_SS && this.breaksHere()) return true
      this.exact?.onEntry?.()
      const rec = this.resolve(single)
      const traps = trap ? this.debug.stepHere() : undefined
      if (single) this.slice.single()
      if (shadow !== 0) view.setInt32(AT_INT_SHADOW, 0, true)
      this.again = false
      this.softwareInterrupt = false
      const resumed = single && (view.getInt32(AT_RFLAGS, true) & FLAG_RF) !== 0
      const exit = resumed ? this.debug.resume(() => this.enter(base, rec)) : this.enter(base, rec)
      this.handleExit(exit, traps)
    } catch (error) {
      if (!(error instanceof CpuFault)) throw error
      this.events.raise(error.vector, error.errorCode)
    }
    return true
  }

  private breaksHere(): boolean {
    if (!this.debug.breaksHere()) return false
    this.events.raise(Vector.DB)
    return true
  }

  /** @param traps where TF was set: whether a step has ended */
  private handleExit(exit: number, traps: (() => boolean) | undefined): void {
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
        if (vector === Vector.UD) this.noteUndefined()
        return this.events.raise(vector, view.getInt32(AT_FAULT_HAS_ERROR, true) !== 0 ? view.getUint32(AT_FAULT_ERROR, true) : undefined)
      }
      default: throw new BugError(`generated code returned ${exit}`)
    }
    // A load of SS holds debug traps off too, until after the next instruction.
    if (traps && !this.softwareInterrupt && this.state.get('intShadow') !== SHADOW_SS && traps()) {
      this.state.set('pendingDebug', this.state.get('pendingDebug') | DR6_SINGLE_STEP)
    }
  }

  /** Names the opcode at RIP if the table lacks it: what the guest executed, not what merely was decoded. */
  private noteUndefined(): void {
    const name = this.debug.undefinedHere()
    if (name !== undefined) this.noteUnimplemented(name)
  }

  /** The longest instruction's bytes at RIP; zeros from an unmapped page on. The guest sees nothing of it. */
  codeHere(): Uint8Array {
    return this.debug.bytesHere()
  }

  interruptQuickly(vector: number, returnRip: bigint): boolean {
    return this.events.deliverSoftware(vector, returnRip)
  }

  /** Whether user code ran since the last call. To be called while the CPU is halted, which it is in supervisor code. */
  takeUserRan(): boolean {
    const ran = this.userRan
    this.userRan = false
    this.code.shutUserSide()
    return ran
  }

  /** Where the CPU stands, for sampling between two runs. Costs about a microsecond and changes nothing. */
  spot(): CpuSpot {
    const [lo, hi] = this.code.linearRip()
    const known = this.code.known()
    const tier = known && this.translations ? this.translations.functions.tierOf(known.code, known.offset) : 0
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

/** One virtual CPU: state block, TLB, decoded code, and the loop that runs blocks and delivers events. */
import { BugError } from '../../errors'
import type { IoHandler } from '../../bus/types'
import { Frame, PAGE_SIZE } from '../../memory/frame-table'
import type { PhysicalRam } from '../../memory/guest-memory'
import { checkSegment } from '../../mmu/segment'
import { SoftTlb, Translation } from '../../mmu/soft-tlb'
import { CODE_TLB_BYTES, CODE_TLB_ENTRIES, CODE_TLB_ENTRY_SIZE, CODE_TLB_SETS, CodeTlbEntry, TlbView } from '../../mmu/tlb-layout'
import { Access, PageWalker } from '../../mmu/walk'
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'
import { instructionBreakpoints, isRepeatedString } from '../events/breakpoints'
import { deliverEvent, type EventKind } from '../events/deliver'
import type { Decode } from '../decode/types'
import type { Helper } from '../emit/emitter'
import { CodeCache } from '../dbt/code-cache'
import { Translator } from '../dbt/translator'
import type { CallSlots } from '../interp/builder'
import { DecodeCache, type BlockSource, type CodePage, type HandlerSlots } from '../interp/decode-cache'
import { createSlowPaths, notePendingFault } from '../interp/slow-paths'
import { CpuState } from '../state/access'
import { STATE_SIZE, Seg } from '../state/layout'
import { Mode, updateDerivedState } from '../state/mode'
import { AccessChecks } from './access-checks'
import { CpuFault, Vector, type CpuContext, type CpuModel, type CpuPlatform } from './context'
import { Exit } from './exits'
import { CpuLinearMemory } from './linear'

/** What the interrupt controllers show to one CPU. */
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
  readonly decode: Decode
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
}

export interface VcpuCounters {
  instructions: number
  exceptions: number
  interrupts: number
  exits: Record<keyof typeof Exit, number>
  unimplemented: Map<string, number>
}

type EnterFunction = (cpu: number, rec: number) => number

/** Intel SDM vol. 2, 2.3.11. */
const LONGEST_INSN = 15
/** `intShadow` after MOV SS and POP SS. */
const SHADOW_SS = 2
const FLAG_RF = 1 << 16
const DR6_SINGLE_STEP = 1 << 14

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
  private readonly table: WasmTable
  readonly walker: PageWalker
  private readonly enter: EnterFunction
  private readonly words: Int32Array
  private readonly bytes: Uint8Array
  /** Mode keys that own a code lookup set, by set number; 0 = free. */
  private readonly codeSets: number[] = new Array<number>(CODE_TLB_SETS).fill(-1)
  /** Limit of the code segment each set was filled under; -1: 4 GiB or none. */
  private readonly codeSetLimits: number[] = new Array<number>(CODE_TLB_SETS).fill(-1)
  private nextCodeSet = 0
  private readonly crossing = new Uint8Array(2 * LONGEST_INSN)
  /** Instructions granted but put aside by `requestExit`. */
  private stash = 0
  private granted = 0
  /** The instruction just run was a software interrupt. */
  private softwareInterrupt = false
  /** Translated code refused the instruction at RIP: it is run alone. */
  private again = false
  private hostError: { readonly error: unknown } | undefined

  constructor(private readonly options: VcpuOptions) {
    const { buffer } = options.memory
    this.state = new CpuState(buffer, options.layout.state)
    this.words = new Int32Array(buffer)
    this.bytes = new Uint8Array(buffer)
    this.platform = options.platform
    this.model = options.model
    this.walker = new PageWalker(options.ram, this.state, options.model.physicalAddressBits)
    this.tlb = new SoftTlb(buffer, options.layout.tlb, this.walker, options.ram, this.state)
    this.memory = new CpuLinearMemory(buffer, this.tlb, options.ram, options.mmio, this.state)
    this.cache = new DecodeCache({
      buffer, base: options.layout.decodeCache, bytes: options.layout.decodeCacheBytes, decode: options.decode,
      slots: options.slots, hotAfter: options.tiers && options.tiers.max > 0 ? options.tiers.hotAfter : 0,
      onDropped: (tableSlots) => this.translations?.drop(tableSlots),
    })
    this.checks = new AccessChecks(this.state, this.tlb)
    this.memory.checks = this.checks
    this.table = options.wasm.createTable(options.interpreter.tableSize)
    this.enter = this.instantiate()
    this.translations = options.tiers && options.tiers.max > 0 ? this.createCodeCache(options.tiers) : undefined
    this.clearCodeLookups()
  }

  /** Links tier 0 with this machine's memory, a table of its own, the slow paths and the helpers. */
  private instantiate(): EnterFunction {
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
    const instance = wasm.instantiate(interpreter.module, { env: { memory, table: this.table }, slow: this.checks.around(slow) as unknown as Record<string, unknown>, helper })
    return instance.exports.enter as EnterFunction
  }

  private createCodeCache(tiers: TierOptions): CodeCache {
    const { wasm, memory, interpreter, decode, slots, ram } = this.options
    const translator = new Translator({
      bytes: this.bytes, decode, places: (form) => slots.of(form).places, calls: interpreter.calls,
      hostOfPage: (page) => ram.frames.hostOffset(page), hotLoopAfter: tiers.max > 1 ? tiers.hotLoopAfter : 0,
      onTranslated: ({ code }, first, last) => this.cache.noteTranslated(code, first, last),
    })
    return new CodeCache({ wasm, memory, table: this.table, cache: this.cache, translator, batch: tiers.batch, now: tiers.now })
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
    if (translations.full) this.dropCode()
    else translations.translateHot()
  }

  /** Forgets all decoded and translated code. Only between two entries into generated code. */
  private dropCode(): void {
    this.translations?.forgetHot()
    this.cache.clear()
    this.clearCodeLookups()
  }

  /** Gives a helper its context and unsigned arguments; turns its faults into a pending exception. */
  private wrapHelper(h: Helper): (cpu: number, ...args: (number | bigint)[]) => number | bigint | void {
    const run = h.run as (cpu: CpuContext, ...args: (number | bigint)[]) => number | bigint | void
    const none = h.returns === 'i64' ? 0n : 0
    return (_cpu, ...args) => {
      for (let i = 0; i < args.length; i++) {
        const arg = args[i]
        args[i] = typeof arg === 'bigint' ? BigInt.asUintN(64, arg) : arg >>> 0
      }
      try {
        return run(this, ...args)
      } catch (error) {
        if (error instanceof CpuFault) notePendingFault(this.state, error)
        else this.noteHostError(error)
        return none
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
    this.clearCodeLookups()
  }

  invalidatePage(linear: bigint): void {
    this.tlb.invalidatePage(Number(linear & 0xffff_ffffn), Number((linear >> 32n) & 0xffff_ffffn))
    this.clearCodeLookups()
  }

  modeChanged(): void {
    updateDerivedState(this.state)
    this.checks.update()
    this.state.set('tlbBase', this.tlb.viewBase(this.memory.currentView()))
    this.state.set('codeTlbBase', this.codeSetFor(this.state.get('modeKey')))
    this.interruptsEnabled()
    if ((this.state.get('modeKey') & Mode.SINGLE_STEP) !== 0) this.requestExit()
  }

  /** A pending interrupt held off by the shadow of STI or MOV SS must be looked at too: right after the next instruction. */
  interruptsEnabled(): void {
    if ((this.state.lo('rflags') & 0x200) !== 0 && this.options.interrupts.pendingVector() >= 0) this.requestExit()
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
    this.dropCode()
    this.codeSets.fill(-1)
    this.walker.forgetPdptes()
    this.state.set('faultVector', -1)
    this.modeChanged()
  }

  // ── code lookup ───────────────────────────────────────────────────────────────────────────────────────────────

  private codeSetFor(modeKey: number): number {
    let set = this.codeSets.indexOf(modeKey)
    if (set < 0) {
      set = this.nextCodeSet
      this.nextCodeSet = (set + 1) % CODE_TLB_SETS
      this.codeSets[set] = modeKey
      this.clearCodeSet(set)
    }
    // What was entered under a larger limit must not be found under a smaller one.
    const limit = (modeKey & (Mode.CODE64 | Mode.FLAT)) !== 0 ? -1 : this.state.get('segLimit', Seg.CS)
    if (this.codeSetLimits[set] !== limit) {
      this.codeSetLimits[set] = limit
      this.clearCodeSet(set)
    }
    return this.options.layout.codeTlb + set * CODE_TLB_BYTES
  }

  private clearCodeSet(set: number): void {
    const first = (this.options.layout.codeTlb + set * CODE_TLB_BYTES) >> 2
    this.words.fill(1, first, first + CODE_TLB_BYTES / 4)
  }

  private clearCodeLookups(): void {
    for (let set = 0; set < CODE_TLB_SETS; set++) if (this.codeSets[set] >= 0) this.clearCodeSet(set)
  }

  /** Code of the running machine changed: called for every write into a frame that holds decoded code. */
  codeWritten(page: number, offset: number, length: number): void {
    if (this.cache.invalidate(page, offset, length) && !this.cache.hasCode(page)) this.options.ram.frames.clearFlags(page, Frame.CODE)
  }

  /** Linear address of `rip` in the running mode, as halves. Runs at every code lookup: no bigint. */
  private linearRip(): [number, number] {
    const { state } = this
    const lo = state.lo('rip') + state.lo('codeBase')
    if ((state.get('modeKey') & Mode.LONG) === 0) return [lo >>> 0, 0]
    const carry = lo > 0xffff_ffff ? 1 : 0
    return [lo >>> 0, (state.hi('rip') + state.hi('codeBase') + carry) >>> 0]
  }

  /** Guest-physical address an instruction fetch reads. Throws CpuFault. */
  private fetchGpa(lo: number, hi: number): number {
    if (!this.memory.isCanonical(hi)) throw new CpuFault(Vector.GP, 0)
    const user = this.memory.currentView() === TlbView.USER ? Access.USER : 0
    if (!this.walker.walk(lo, hi, Access.FETCH | user)) {
      this.state.setLoHi('cr2', lo, hi)
      throw new CpuFault(Vector.PF, this.walker.errorCode)
    }
    return this.walker.gpaPage + (lo & 0xfff)
  }

  /** Record for the current RIP, decoding if needed. `single`: a block of one instruction. Throws CpuFault. */
  private resolve(single: boolean): number {
    const { state, cache } = this
    if (!cache.hasRoom()) this.dropCode()
    const modeKey = state.get('modeKey') | (single ? Mode.SINGLE_STEP : 0)
    if ((modeKey & Mode.CODE64) === 0 && (state.hi('rip') !== 0 || state.lo('rip') > state.get('segLimit', Seg.CS))) throw new CpuFault(Vector.GP, 0)
    const [lo, hi] = this.linearRip()
    const gpa = this.fetchGpa(lo, hi)
    const partial = this.limitInPage(state.lo('rip'))
    const key = partial ? modeKey | Mode.SINGLE_STEP : modeKey
    state.setLoHi('blockRip', state.lo('rip'), state.hi('rip'))
    const checked = (modeKey & Mode.CODE64) === 0
    const host = this.options.ram.hostForRead(gpa)
    if (host < 0) return this.resolveOutsideRam(gpa, key, checked)
    if (partial) this.checkLength(this.bytes, host)
    const offset = gpa % PAGE_SIZE
    const code = cache.page((gpa - offset) / PAGE_SIZE, key)
    if (key === state.get('modeKey')) this.enterCodeLookup(lo, hi, code.map)
    const known = cache.recordAt(code, offset)
    if (known !== 0) return known
    this.protectCode(code.page, host - offset)
    const record = cache.decodeBlock(code, host - offset, offset, this.bytes, checked)
    return record === 'crosses' ? this.resolveCrossing(lo, hi, code, host, checked) : record
  }

  /**
   * Does the code segment end within the page that holds this offset? Such pages are run one instruction at a time and
   * never entered in the lookup, so that every instruction is held to the limit; all other code need not look at it.
   * @param rip offset within the code segment
   */
  private limitInPage(rip: number): boolean {
    const { state } = this
    if ((state.get('modeKey') & (Mode.CODE64 | Mode.FLAT)) !== 0) return false
    const last = rip + PAGE_SIZE - 1 - ((rip + state.lo('codeBase')) & (PAGE_SIZE - 1))
    return last > state.get('segLimit', Seg.CS)
  }

  /** The whole instruction must lie within the code segment. SDM vol. 3, 5.3. @throws CpuFault #GP(0) */
  private checkLength(code: Uint8Array, at: number): void {
    const room = this.state.get('segLimit', Seg.CS) - this.state.lo('rip') + 1
    if (room >= LONGEST_INSN) return
    const result = this.options.decode(code, at, room, this.state.get('modeKey'))
    if (!result.ok && result.kind === 'truncated') throw new CpuFault(Vector.GP, 0)
  }

  /** From now on writes to the frame are noticed. */
  private protectCode(page: number, host: number): void {
    const { frames } = this.options.ram
    if ((frames.entry(page) & Frame.CODE) !== 0) return
    frames.setFlags(page, Frame.CODE)
    this.tlb.dropWriteTags(host)
  }

  private enterCodeLookup(lo: number, hi: number, map: number): void {
    const word = (this.state.get('codeTlbBase') + ((lo >>> 12) & (CODE_TLB_ENTRIES - 1)) * CODE_TLB_ENTRY_SIZE) >> 2
    this.words[word + CodeTlbEntry.tag / 4] = lo & ~0xfff
    this.words[word + CodeTlbEntry.tag / 4 + 1] = hi | 0
    this.words[word + CodeTlbEntry.map / 4] = map
  }

  /** An instruction that runs over its page's end: cached with a guard that the second page is still the same. */
  private resolveCrossing(lo: number, hi: number, code: CodePage, host: number, checked: boolean): number {
    const { crossing } = this
    const offset = lo & 0xfff
    const first = PAGE_SIZE - offset
    const page2 = this.secondPage(lo, hi)
    crossing.set(this.bytes.subarray(host, host + first))
    const host2 = this.options.ram.hostForRead(page2 * PAGE_SIZE)
    if (host2 < 0) crossing.fill(0xff, first)
    else crossing.set(this.bytes.subarray(host2, host2 + LONGEST_INSN), first)
    const limited = this.limitInPage(this.state.lo('rip') + first)
    if (limited) this.checkLength(crossing, 0)
    if (host2 < 0 || limited) return this.cache.decodeOnce(crossing, first + LONGEST_INSN, code.modeKey, checked)
    this.protectCode(page2, host2)
    return this.cache.decodeCrossing(code, offset, crossing, page2, checked)
  }

  /** Page number of the code behind the page that holds linear `lo`. Throws CpuFault. */
  private secondPage(lo: number, hi: number): number {
    const next = ((lo >>> 0) & ~0xfff) + (lo < 0 ? 2 ** 32 : 0) + PAGE_SIZE
    const long = (this.state.get('modeKey') & Mode.LONG) !== 0
    return this.fetchGpa(next >>> 0, long && next > 0xffff_ffff ? (hi + 1) >>> 0 : hi) / PAGE_SIZE
  }

  /** Called by the guard of a page-crossing instruction. 0: go on, 1: fault pending, 2: the second page changed. */
  private checkCrossing(rec: number): number {
    try {
      // A guard is always the head of its block.
      this.state.setLoHi('rip', this.state.lo('blockRip'), this.state.hi('blockRip'))
      const [lo, hi] = this.linearRip()
      const limited = this.limitInPage(this.state.lo('rip') + PAGE_SIZE - (lo & (PAGE_SIZE - 1)))
      if (this.secondPage(lo, hi) === this.cache.secondPage(rec) && !limited) return 0
      this.cache.dropCrossing(rec)
      return 2
    } catch (error) {
      if (error instanceof CpuFault) notePendingFault(this.state, error)
      else this.noteHostError(error)
      return 1
    }
  }

  /** Code outside RAM: fetched from the bus byte by byte, decoded for this once. */
  private resolveOutsideRam(gpa: number, modeKey: number, checked: boolean): number {
    for (let i = 0; i < LONGEST_INSN; i++) this.crossing[i] = this.options.mmio.read(gpa + i, 1)
    return this.cache.decodeOnce(this.crossing, LONGEST_INSN, modeKey, checked)
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

  /** Makes generated code return at the next block head; what is left of the slice is kept. */
  requestExit(): void {
    const left = this.state.getI32('sliceLeft')
    if (left < 0) return
    this.stash += left + 1
    this.state.set('sliceLeft', -1)
  }

  /** Instructions executed since `run` was called, counting the part of the slice in progress. */
  executedInSlice(): number {
    return this.granted - this.stash - this.state.getI32('sliceLeft')
  }

  /** Runs up to about `instructions` instructions; comes back early when the CPU halts. */
  run(instructions: number): RunResult {
    const { state } = this
    this.granted = instructions
    this.stash = instructions
    state.set('sliceLeft', 0)
    let result: RunResult = 'slice'
    while (this.stash + state.getI32('sliceLeft') > 0) {
      state.set('sliceLeft', this.stash + state.getI32('sliceLeft'))
      this.stash = 0
      if (!this.step()) {
        result = 'halted'
        break
      }
      if (this.hostError) throw this.hostError.error
      if (this.translations?.due) this.translateHot()
    }
    if (this.translations?.sliceEnded()) this.translateHot()
    this.counters.instructions += this.executedInSlice()
    this.granted = this.stash + state.getI32('sliceLeft')
    return result
  }

  /** Delivers what is due and enters generated code once. False: halted. */
  private step(): boolean {
    const { state } = this
    if (state.get('pendingDebug') !== 0 && state.get('intShadow') !== SHADOW_SS) this.debugTrap()
    this.takeEvents()
    if (state.get('halted') !== 0) return false
    const shadow = state.get('intShadow') !== 0
    const trap = (state.lo('rflags') & 0x100) !== 0
    const single = shadow || this.again || (state.get('modeKey') & Mode.SINGLE_STEP) !== 0
    try {
      if (single && state.get('intShadow') !== SHADOW_SS && this.breaksHere()) return true
      const rec = this.resolve(single)
      if (single) {
        this.stash += state.getI32('sliceLeft')
        state.set('sliceLeft', 0)
      }
      if (shadow) state.set('intShadow', 0)
      this.again = false
      this.softwareInterrupt = false
      const resumed = single && (state.lo('rflags') & FLAG_RF) !== 0
      const exit = resumed ? this.enterResumed(rec) : this.enter(state.base, rec)
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
        const { state } = this
        const vector = state.getI32('faultVector')
        state.set('faultVector', -1)
        if (this.hostError) return
        if (vector === Vector.UD) this.noteUndefinedHere()
        return this.raise(vector, state.get('faultHasError') !== 0 ? state.get('faultError') : undefined)
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
    const [lo, hi] = this.linearRip()
    const hits = instructionBreakpoints(state, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0))
    if (hits === 0) return false
    state.set64('dr', (state.get64('dr', 6) & ~0xfn) | BigInt(hits), 6)
    this.raise(Vector.DB)
    return true
  }

  /** The longest instruction's bytes at RIP; zeros from an unmapped page on. The guest sees nothing of it. */
  private codeHere(): Uint8Array {
    const code = new Uint8Array(LONGEST_INSN)
    const [lo, hi] = this.linearRip()
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
    const result = this.options.decode(code, 0, LONGEST_INSN, this.state.get('modeKey'))
    if (!result.ok && result.kind === 'undefined') this.noteUnimplemented(result.name)
  }

  /** What the last instruction met: data and port breakpoints, its own single step, a task that asks for it. */
  private debugTrap(): void {
    const { state } = this
    state.setLoHi('dr', state.lo('dr', 6) | state.get('pendingDebug'), 0, 6)
    state.set('pendingDebug', 0)
    this.deliver(Vector.DB, 'trap')
  }

  private raise(vector: number, errorCode?: number): void {
    this.counters.exceptions++
    this.state.set('pendingDebug', 0)
    this.deliver(vector, 'fault', errorCode)
  }

  private deliver(vector: number, kind: EventKind, errorCode?: number): void {
    this.state.set('halted', 0)
    deliverEvent(this, vector, kind, errorCode)
  }

  private takeEvents(): void {
    const { state, options } = this
    if (state.get('intShadow') !== 0) return
    if (state.get('nmiBlocked') === 0 && options.interrupts.takeNmi()) {
      state.set('nmiBlocked', 1)
      return this.deliver(Vector.NMI, 'nmi')
    }
    if ((state.lo('rflags') & 0x200) === 0 || options.interrupts.pendingVector() < 0) return
    this.counters.interrupts++
    this.deliver(options.interrupts.acknowledge(), 'interrupt')
  }

  /** Bytes of linear memory a vCPU block takes. */
  static readonly stateBytes = STATE_SIZE

  /** Translates without side effects on the TLB, for describing the machine. */
  peekTranslation(lo: number, hi: number): number {
    const host = this.tlb.translate(lo, hi, false, TlbView.SUPERVISOR)
    return host === Translation.FAULT ? -1 : host
  }
}

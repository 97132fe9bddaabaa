/** A running machine: board, CPU and the slices of time it is given. */
import { applyBootState } from '../boot/apply'
import { loadLinux } from '../boot/linux'
import { VmmError } from '../errors'
import type { KeptTranslations } from '../cpu/dbt/translation-pack'
import type { InterpreterPlan } from '../cpu/interp/prebuilt'
import { TripleFault } from '../cpu/events/deliver'
import { Gpr, Seg } from '../cpu/state/layout'
import { packRflags } from '../cpu/state/flags'
import { Vcpu } from '../cpu/core/vcpu'
import { writeAcpiTables } from '../firmware/acpi/tables'
import { FrameTable } from '../memory/frame-table'
import { PhysicalRam } from '../memory/guest-memory'
import { LazyRam, PageUnavailable, type PageSource } from '../memory/lazy-ram'
import { RamCapture, type CaptureScope } from '../memory/ram-capture'
import { HPET_CAPABILITIES } from '../timers/hpet'
import { MachineClock } from '../timers/virtual-clock'
import { Board } from './board'
import { createCpuKit, type CpuKit } from './cpu-kit'
import { hotBlocks, wasmOf } from './hot-code'
import { IdleTicks } from './idle-ticks'
import { KvmClock } from './kvm-clock'
import { planLinearMemory, type LinearLayout } from './linear-layout'
import { createPlatform } from './platform'
import { BackgroundTranslator, cpuModelOf, HOT_LOOP_AFTER } from './translation-thread'
import { GuestProfile } from './profile'
import { encodeState } from './state/encoding'
import { describeHardware, type MachineState } from './state/machine-state'
import { restoreMachine, resumeDevices, saveMachine, type MachineParts } from './state/save'
import type { HotBlock, Machine, MachineCapture, MachineConfig, MachineFigures, MachinePorts, SliceResult, StopReason, TranslationFigures } from './types'

/** Longest stretch of guest time between two looks at the timers. */
const MAX_STRETCH_NS = 2e6
/**
 * Length of a slice while disk requests are under way: their steps (a table is read, then data …) are made between slices only, and
 * a guest that waits for them without halting would make each step take a whole slice.
 */
const DISK_SLICE_NS = 0.4e6
const MIN_INSTRUCTIONS = 2_000
const MAX_INSTRUCTIONS = 4_000_000
/** Entries of a block on tier 0 before it is translated, and blocks per module. */
const HOT_AFTER = 6000
const TRANSLATION_BATCH = 16

/** What a machine is restored from. */
export interface SavedMachine { readonly state: MachineState; readonly memory: PageSource }

export class EmbeddedMachine implements Machine {
  private readonly layout: LinearLayout
  readonly ram: PhysicalRam
  private readonly clock: MachineClock
  private readonly kvmClock: KvmClock
  readonly board: Board
  readonly cpu: Vcpu
  readonly lazyRam: LazyRam | undefined
  private pendingStop: StopReason | undefined
  private resetWanted = false
  private wake: () => void = () => undefined
  /** Running estimate, for choosing how many instructions fill a stretch of time. */
  private nsPerInstruction = 10
  private guestRunNs = 0
  /** Without what is large and only needed at first: what is in use of it is kept elsewhere. */
  private readonly ports: Omit<MachinePorts, 'translations' | 'interpreter'>
  private readonly background: BackgroundTranslator | undefined
  private readonly profile: GuestProfile
  private readonly idleTicks = new IdleTicks()
  private idleNs = 0
  private idleSince: number | undefined

  /**
   * @param saved continue this instead of booting
   * @throws VmmError `bad-config`, `bad-kernel`, `no-memory`; with `saved` also `bad-state`, `state-mismatch`, `state-damaged`
   */
  constructor(private readonly config: MachineConfig, { translations, interpreter, ...ports }: MachinePorts, saved?: SavedMachine) {
    this.ports = ports
    this.layout = planLinearMemory(config.memoryMiB)
    const memory = ports.wasm.createMemory(this.layout.wasmPages)
    this.ram = new PhysicalRam(memory.buffer, new FrameTable(memory.buffer, this.layout.frames))
    const { deterministic } = config
    const counted = deterministic && (deterministic.nowNs ?? (() => this.instructions() * deterministic.nsPerInstruction))
    this.clock = new MachineClock(ports.clock, counted)
    this.clock.onArmed(() => this.wakeSleeper())
    this.board = new Board({
      config, ports, ram: this.ram, clock: this.clock,
      onInterruptChange: () => this.interruptsChanged(),
      onPowerOff: () => this.stop({ kind: 'power-off' }),
      onReset: () => this.requestReset(),
      onCompletion: () => this.wake(),
    })
    this.kvmClock = new KvmClock(this.ram, this.clock, this.board.tsc)
    this.background = this.createTranslatorThread(memory.buffer, interpreter?.plan)
    this.cpu = this.createCpu(memory, ports.cpuKit ?? createCpuKit(ports.wasm, interpreter))
    this.loadTranslations(translations)
    this.profile = new GuestProfile({
      spot: () => this.cpu.spot(),
      translationNs: () => this.cpu.translations?.hereNs ?? 0,
      read: (gpa, target) => this.ram.read(gpa, target),
    })
    this.ram.setCodeWriteListener((page, offset, length) => this.cpu.codeWritten(page, offset, length))
    if (saved) this.lazyRam = this.restore(saved)
    else this.powerOn()
  }

  /** A pack that cannot be used costs speed only. */
  private loadTranslations(kept: KeptTranslations | undefined): void {
    if (!kept) return
    try {
      this.cpu.translations?.loadPack(kept)
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      this.ports.log.log('warn', 'translator', `translations of an earlier run are not used: ${detail}`, { reason: 'translationsNotUsed', detail })
    }
  }

  private get generationId(): string {
    return this.config.generationId ?? this.config.uuid
  }

  private restore({ state, memory }: SavedMachine): LazyRam {
    const lazyRam = new LazyRam(this.ram, memory)
    restoreMachine(this.parts(), state)
    resumeDevices(this.board)
    this.board.generation.renew(this.generationId)
    return lazyRam
  }

  private parts(): MachineParts {
    const { board, cpu, clock, kvmClock, config } = this
    return { board, cpu, clock, kvmClock, hardware: describeHardware(config, cpu.model) }
  }

  private createCpu(memory: ReturnType<MachinePorts['wasm']['createMemory']>, kit: CpuKit): Vcpu {
    const { ports, config, board } = this
    const model = cpuModelOf(config.cpuProfile)
    return new Vcpu({
      memory, layout: this.layout.vcpu, ram: this.ram, mmio: board.mmio, model, wasm: ports.wasm,
      platform: createPlatform(board, this.kvmClock, ports.entropy), interrupts: board.interrupts,
      scanner: kit.scannerFor(config.cpuProfile, model), slots: kit.slots, interpreter: kit.interpreter,
      tiers: {
        max: config.maxTier, hotAfter: HOT_AFTER, hotLoopAfter: HOT_LOOP_AFTER, batch: TRANSLATION_BATCH, now: () => ports.clock.monotonicNs(),
        ...(this.background ? { background: this.background } : {}),
      },
      onUnimplemented: (name) => {
        ports.log.log('warn', 'cpu', `the guest used an instruction that is not implemented, ${name}, and was given #UD`, { reason: 'unimplemented', name })
      },
    })
  }

  /** What is to be the same at each run must not depend on when another thread is done. */
  private createTranslatorThread(memory: SharedArrayBuffer, plan: InterpreterPlan | undefined): BackgroundTranslator | undefined {
    const { config: { maxTier, cpuProfile, deterministic }, ports: { translator, log } } = this
    if (!translator || !plan || maxTier === 0 || deterministic) return undefined
    const setup = { memory, cpuProfile, plan, hotLoopAfter: maxTier > 1 ? HOT_LOOP_AFTER : 0 }
    return new BackgroundTranslator(translator, setup, (result) => this.cpu.translations?.use(result), (job, reason) => {
      log.log('warn', 'translator', `code is translated between slices from now on: ${reason}`, { reason: 'translatorLost', detail: reason })
      if (job) this.cpu.translations?.requeue(job)
    })
  }

  private powerOn(): void {
    const { kernel } = this.config
    const boot = loadLinux(this.ram, this.layout.frames.ramBytes, typeof kernel === 'function' ? kernel() : kernel)
    writeAcpiTables(this.ram, { cpuCount: 1, hpetCapabilities: HPET_CAPABILITIES })
    this.board.generation.put(this.generationId)
    applyBootState(this.cpu.state, boot)
    this.cpu.afterReset()
  }

  private instructions(): number {
    // During construction the CPU does not exist yet, and time stands at zero.
    const cpu = this.cpu as Vcpu | undefined
    return cpu ? cpu.counters.instructions + cpu.executedInSlice() : 0
  }

  private interruptsChanged(): void {
    const cpu = this.cpu as Vcpu | undefined
    if (!cpu) return
    cpu.requestExit()
    this.wakeSleeper()
  }

  /** The host sleeps until the next timer that was known when the guest halted. */
  private wakeSleeper(): void {
    if (this.idleSince !== undefined) this.wake()
  }

  private stop(reason: StopReason): void {
    this.pendingStop ??= reason
    this.cpu.requestExit()
  }

  private requestReset(): void {
    if (this.config.onReset === 'stop') return this.stop({ kind: 'reset' })
    this.resetWanted = true
    this.cpu.requestExit()
  }

  // ── Machine ───────────────────────────────────────────────────────────────────────────────────────────────────

  runSlice(budgetNs: number): SliceResult {
    const start = this.ports.clock.monotonicNs()
    this.clock.resume()
    if (this.idleSince !== undefined) {
      this.idleNs += start - this.idleSince
      this.idleSince = undefined
    }
    try {
      return this.runFor(start, budgetNs)
    } catch (error) {
      if (error instanceof PageUnavailable) return { kind: 'blocked' }
      return { kind: 'stopped', reason: this.describeFailure(error) }
    }
  }

  private runFor(start: number, budgetNs: number): SliceResult {
    const host = this.ports.clock
    for (;;) {
      const stop = this.prepare()
      if (stop) return this.stopped(stop)
      const before = host.monotonicNs()
      const executed = this.instructions()
      const result = this.cpu.run(this.stretch(this.sliceNs(budgetNs)))
      const after = host.monotonicNs()
      this.learnSpeed(after - before, this.instructions() - executed)
      this.profile.ran(after - before, this.instructions() - executed, result === 'slice')
      if (this.pendingStop || this.resetWanted) continue
      if (result === 'halted') {
        const idle = this.idleResult(after)
        if (idle) return idle
      } else if (after - start >= this.sliceNs(budgetNs)) return { kind: 'busy' }
    }
  }

  /** What is due before the CPU runs: timers, a restart. @returns why the machine stopped, where it did */
  prepare(): StopReason | undefined {
    this.clock.runDue()
    if (!this.pendingStop && this.resetWanted) this.restart()
    return this.pendingStop
  }

  /** Machine time of the next timer; Infinity where none is armed. */
  get nextDeadlineNs(): number {
    return this.clock.nextDeadlineNs()
  }

  /** Halted, and nothing that waits would wake it. */
  get isHalted(): boolean {
    return this.cpu.state.get('halted') !== 0 && !(this.board.interrupts.pendingVector() >= 0 && this.interruptsEnabled())
  }

  /** The devices' states as they would be saved, by device, for comparing. */
  deviceStates(): ReadonlyMap<string, string> {
    const { cpu0: _, ...devices } = saveMachine(this.parts()).devices
    return new Map(Object.entries(devices).map(([id, { state }]) => [id, encodeState(state)]))
  }

  private sliceNs(budgetNs: number): number {
    return this.awaitsHost ? Math.min(budgetNs, DISK_SLICE_NS) : budgetNs
  }

  /** Instructions that should fill the time to the next timer, or to the end of the slice. */
  private stretch(sliceNs: number): number {
    const untilTimer = this.clock.nextDeadlineNs() - this.clock.nowNs()
    const perInstruction = this.config.deterministic?.nsPerInstruction ?? this.nsPerInstruction
    const stretch = Math.min(untilTimer, MAX_STRETCH_NS) / perInstruction
    // What is to be the same at each run must not end its slices by what was sampled before.
    const wanted = this.config.deterministic ? stretch : Math.min(stretch, sliceNs / perInstruction, this.profile.untilSample)
    return Math.max(MIN_INSTRUCTIONS, Math.min(MAX_INSTRUCTIONS, Math.ceil(wanted)))
  }

  private learnSpeed(ns: number, instructions: number): void {
    this.guestRunNs += ns
    if (instructions > 1000) this.nsPerInstruction += (ns / instructions - this.nsPerInstruction) / 16
  }

  /** Halted: how long may the host sleep? Undefined where something is due already. */
  private idleResult(nowHostNs: number): SliceResult | undefined {
    const untilTimer = this.clock.nextDeadlineNs() - this.clock.nowNs()
    if (untilTimer <= 0 || this.board.interrupts.pendingVector() >= 0 && this.interruptsEnabled()) return undefined
    this.board.uart.flush()
    this.idleSince = nowHostNs
    const lateness = this.lateness()
    return { kind: 'idle', wakeNs: untilTimer + lateness, loose: lateness > 0 }
  }

  /** How much longer than to the next timer the guest may sleep; see `IdleTicks`. */
  private lateness(): number {
    const { clock, board, cpu } = this
    const tick = board.interrupts.lapic.timer.onceAtNs
    const next = clock.nextDeadlineNs()
    if (this.config.deterministic || tick === Infinity) return 0
    const allowed = this.idleTicks.lateness(clock.nowNs(), tick, cpu.counters.interrupts, () => cpu.takeUserRan())
    return allowed > 0 ? clock.latestWakeNs(tick, allowed) - next : 0
  }

  private interruptsEnabled(): boolean {
    return (this.cpu.state.lo('rflags') & 0x200) !== 0
  }

  private stopped(reason: StopReason): SliceResult {
    this.board.uart.flush()
    return { kind: 'stopped', reason }
  }

  describeFailure(error: unknown): StopReason {
    this.board.uart.flush()
    // A PC answers a triple fault with a reset; here the machine stops and says why, which helps whoever debugs it more.
    if (error instanceof TripleFault) return { kind: 'triple-fault', detail: error.description }
    if (error instanceof VmmError) return { kind: 'error', code: error.code, message: error.message }
    return { kind: 'error', code: 'internal', message: error instanceof Error ? error.stack ?? error.message : String(error) }
  }

  private restart(): void {
    this.resetWanted = false
    this.board.reset()
    this.kvmClock.reset()
    this.powerOn()
  }

  pauseClock(): void {
    this.clock.pause()
  }

  resumeClock(): void {
    this.clock.resume()
  }

  onWake(wake: () => void): void {
    this.wake = wake
  }

  pressPowerButton(): void {
    this.board.acpi.pressPowerButton()
    this.wake()
  }

  reset(): void {
    this.resetWanted = true
    this.cpu.state.set('halted', 0)
    this.wake()
  }

  get awaitsHost(): boolean {
    return this.board.disks.some((disk) => disk.isBusy)
  }

  retryDisks(): void {
    for (const disk of this.board.disks) disk.retry()
  }

  async drain(): Promise<void> {
    for (const disk of this.board.disks) await disk.drain()
  }

  capture(scope?: CaptureScope): MachineCapture {
    const state = saveMachine(this.parts())
    // What is taken must not count as touched; what was needed after the last restore will be needed after the next.
    this.lazyRam?.endRecording()
    const { frames } = this.ram
    const hot = [...this.cpu.tlb.cachedFrames(), ...(this.lazyRam?.workingSet ?? []).map((page) => frames.hostOffset(page))]
    const memory = new RamCapture(this.ram, hot, scope)
    this.cpu.flushTlb(false)
    return { state, memory }
  }

  figures(): MachineFigures {
    const { counters } = this.cpu
    const disk = { readBytes: 0, writtenBytes: 0, requests: 0 }
    for (const { figures } of this.board.disks) {
      disk.readBytes += figures.readBytes
      disk.writtenBytes += figures.writtenBytes
      disk.requests += figures.requests
    }
    return {
      instructions: this.instructions(), guestRunNs: this.guestRunNs, idleNs: this.idleNs,
      ...this.profile.figures(), translations: this.translationFigures(),
      exits: { ...counters.exits, ...this.board.io.counts(), ...this.board.mmio.counts(), ...this.board.interrupts.oddities.counts() },
      interrupts: counters.interrupts, exceptions: counters.exceptions, tlbMisses: this.cpu.tlb.misses,
      blocksDecoded: this.cpu.cache.blocksDecoded, codeInvalidations: this.cpu.cache.invalidations,
      disk, serialBytes: this.board.uart.bytesOut, residentGuestBytes: this.ram.frames.touchedBytes(),
      unimplemented: Object.fromEntries(counters.unimplemented),
    }
  }

  private translationFigures(): TranslationFigures {
    const { blocks = 0, regions = 0, modules = 0, bytes = 0, translateNs = 0, compileNs = 0, adopted = 0 } = this.cpu.translations ?? {}
    return { blocks: blocks - regions, regions, modules, wasmBytes: bytes, translateNs, compileNs, adopted }
  }

  hotBlocks(count: number): HotBlock[] {
    return hotBlocks(this.profile, this.cpu, count)
  }

  wasmOf(address: bigint, modeKey: number): string | undefined {
    return wasmOf(this.profile, this.cpu, address, modeKey)
  }

  mergeTranslations(): Promise<void> {
    const { translations } = this.cpu
    return translations ? new Promise((resolve) => translations.merge(resolve)) : Promise.resolve()
  }

  releaseBuffers(): void {
    for (const disk of this.board.disks) disk.releaseBuffers()
  }

  get hasTranslatorRunning(): boolean {
    const { background } = this
    return background !== undefined && background.alive && !background.resting
  }

  get isTranslating(): boolean {
    return this.background?.busy ?? false
  }

  async restTranslator(): Promise<boolean> {
    return await this.background?.rest() ?? false
  }

  translations(): Uint8Array | undefined {
    return this.cpu.translations?.pack()
  }

  describe(): string {
    const { state } = this.cpu
    const hex = (v: bigint | number): string => `0x${v.toString(16)}`
    const gprs = Object.entries(Gpr).map(([name, i]) => `${name}=${hex(state.gpr(i))}`).join(' ')
    const segments = Object.entries(Seg).map(([name, i]) => `${name}=${hex(state.get('segSelector', i))}`).join(' ')
    return [
      `rip=${hex(state.get64('rip'))} rflags=${hex(packRflags(state))} cpl=${state.get('cpl')} mode=${hex(state.get('modeKey'))} halted=${state.get('halted')}`,
      gprs, segments,
      `cr0=${hex(state.get64('cr0'))} cr2=${hex(state.get64('cr2'))} cr3=${hex(state.get64('cr3'))} cr4=${hex(state.get64('cr4'))} efer=${hex(state.get64('efer'))}`,
      `instructions=${this.instructions()}`,
    ].join('\n')
  }
}

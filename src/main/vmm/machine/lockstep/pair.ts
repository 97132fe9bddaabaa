/**
 * Two machines with the same guest on different tiers, in instruction-count time: brought to the same place again and again.
 *
 * The tested machine (the higher tier) leads, the reference follows it (`cpu/core/exact-run.ts`). Time stands still within a
 * step, timers fire between steps, and inputs arrive there: so both machines see the same, whatever their tiers.
 */
import { VmmError } from '../../errors'
import { TripleFault } from '../../cpu/events/deliver'
import { follow, lead, OVERSHOOT, positionOf, type RunPosition } from '../../cpu/core/exact-run'
import type { PrebuiltInterpreter } from '../../cpu/interp/prebuilt'
import type { CharBackend, EntropySource, Logger, WasmEngine } from '../../ports'
import { EmbeddedMachine } from '../machine'
import type { MachineConfig, MachinePorts, StopReason } from '../types'

export type Side = 'reference' | 'tested'
export type LockstepTier = 0 | 1 | 2

export interface PairOptions {
  readonly config: Omit<MachineConfig, 'maxTier' | 'deterministic'>
  readonly tiers: Readonly<Record<Side, LockstepTier>>
  readonly wasm: (side: Side) => WasmEngine
  readonly interpreter?: PrebuiltInterpreter
  readonly log: Logger
}

export interface PairLine {
  /** Bytes that either machine said on its serial line. */
  readonly said: (side: Side, bytes: Uint8Array) => void
}

/** A gigahertz: one instruction, one tick of the guest's time-stamp counter. */
const NS_PER_INSTRUCTION = 1
/** Host time that a nanosecond of machine time stands for where the translator asks how long it has waited: 50 MIPS. */
const HOST_NS = 20
/** Wall time at power-on, the same in every run: 2026-01-01. */
const WALL_MS = Date.UTC(2026, 0, 1)

/** Random numbers that are the same for both machines and in every run: xorshift32. */
function repeatableEntropy(): EntropySource {
  let state = 0x9e37_79b9
  return {
    fill: (target) => {
      for (let i = 0; i < target.length; i++) {
        state ^= state << 13
        state ^= state >>> 17
        state ^= state << 5
        target[i] = state
      }
    },
  }
}

/** How a step ended. */
export type Advance =
  | { readonly kind: 'ran' }
  /** The reference did not come by the place where the tested machine stopped. */
  | { readonly kind: 'path'; readonly tested: RunPosition; readonly reference: RunPosition }
  /** One stopped for good, or each in its own way. Undefined: it runs. */
  | { readonly kind: 'end'; readonly tested: string | undefined; readonly reference: string | undefined }
  | { readonly kind: 'stopped'; readonly reason: StopReason }

export class MachinePair {
  readonly reference: EmbeddedMachine
  readonly tested: EmbeddedMachine
  /** Machine time of both. */
  private timeNs = 0
  private readonly receivers: ((bytes: Uint8Array) => void)[] = []

  /** @throws VmmError as EmbeddedMachine; `bad-config` for disks, whose answers come at no fixed instruction */
  constructor(readonly options: PairOptions, private readonly line: PairLine) {
    if (options.config.disks.length > 0) throw new VmmError('bad-config', 'lockstep runs without disks: give the guest an initial RAM disk')
    this.reference = this.create('reference')
    this.tested = this.create('tested')
  }

  private create(side: Side): EmbeddedMachine {
    const { config, tiers, wasm, interpreter, log } = this.options
    const nowNs = (): number => this.timeNs
    const silent: CharBackend = { write: () => undefined, onInput: () => undefined }
    const ports: MachinePorts = {
      // What was translated when must repeat too, so translation goes by this clock.
      clock: { monotonicNs: () => this.timeNs * HOST_NS, wallMs: () => WALL_MS }, entropy: repeatableEntropy(), wasm: wasm(side), log,
      serial: { write: (bytes) => this.line.said(side, bytes), onInput: (receive) => { this.receivers.push(receive) } },
      console: silent, ...(interpreter ? { interpreter } : {}),
    }
    return new EmbeddedMachine({ ...config, maxTier: tiers[side], deterministic: { nsPerInstruction: NS_PER_INSTRUCTION, nowNs } }, ports)
  }

  private get both(): readonly EmbeddedMachine[] {
    return [this.reference, this.tested]
  }

  get nowNs(): number {
    return this.timeNs
  }

  get instructions(): number {
    return this.tested.cpu.counters.instructions
  }

  /** Bytes typed at both guests. Only between two steps. */
  type(bytes: Uint8Array): void {
    for (const receive of this.receivers) receive(bytes)
  }

  /** Fires timers. @returns why both stopped, or how one did */
  prepare(): Advance {
    const [reference, tested] = this.both.map((machine) => machine.prepare())
    if (!reference && !tested) return { kind: 'ran' }
    if (reference && tested && reference.kind === tested.kind) return { kind: 'stopped', reason: reference }
    return { kind: 'end', tested: tested?.kind, reference: reference?.kind }
  }

  /** Both are halted: time goes on to the next timer. False where there is none. */
  skipIdle(): boolean {
    for (const { board } of this.both) board.uart.flush()
    const deadline = this.tested.nextDeadlineNs
    if (deadline === Infinity) return false
    this.timeNs = Math.max(this.timeNs, deadline)
    return true
  }

  /** Instructions to the next timer, no more than `limit`. */
  stretch(limit: number): number {
    return Math.max(1, Math.min(limit, Math.ceil((this.tested.nextDeadlineNs - this.timeNs) / NS_PER_INSTRUCTION)))
  }

  /**
   * Both run on by about `instructions`, to where the tested machine stops.
   * @param events interrupts may be taken first; only where `prepare` was called
   * @param watch called before each entry into generated code; every instruction of the reference then runs alone
   */
  advance(instructions: number, events: boolean, watch?: (side: Side) => void): Advance {
    const { reference, tested } = this
    const before = positionOf(tested.cpu)
    const testedEnd = this.attempt(tested, () => lead(tested.cpu, instructions, events, watch && (() => watch('tested'))))
    const target = positionOf(tested.cpu)
    const moved = target.instructions !== before.instructions || target.exceptions !== before.exceptions
    // What stopped one for good is past its position: the reference has to find it as well.
    const aim = testedEnd ? { instructions: target.instructions + 1, exceptions: Infinity } : target
    const alone = watch ? Infinity : OVERSHOOT[this.options.tiers.reference]
    let arrived = true
    const referenceEnd = this.attempt(reference, () => {
      if (moved || testedEnd) arrived = follow(reference.cpu, aim, { alone, events, onEntry: watch && (() => watch('reference')) })
    })
    this.timeNs += (target.instructions - before.instructions) * NS_PER_INSTRUCTION
    if (testedEnd && referenceEnd && testedEnd.text === referenceEnd.text) return { kind: 'stopped', reason: testedEnd.reason }
    if (testedEnd ?? referenceEnd) return { kind: 'end', tested: testedEnd?.text, reference: referenceEnd?.text }
    return arrived ? { kind: 'ran' } : { kind: 'path', tested: target, reference: positionOf(reference.cpu) }
  }

  private attempt(machine: EmbeddedMachine, run: () => void): { readonly text: string; readonly reason: StopReason } | undefined {
    try {
      run()
      return undefined
    } catch (error) {
      const text = error instanceof TripleFault ? error.message : `error: ${error instanceof Error ? error.message : String(error)}`
      return { text, reason: machine.describeFailure(error) }
    }
  }
}

/**
 * Lockstep: a guest on two tiers at once, stopped at the first difference.
 *
 * The first pass compares registers at every step and memory at every few. Where they differ, a second pass runs both machines
 * again from power-on with the same inputs to the last comparison that held, and goes on block by block of the tested tier.
 */
import type { Decode } from '../../cpu/decode/types'
import type { HostClock } from '../../ports'
import type { SliceResult } from '../types'
import { copyState, deviceDifferences, MemoryComparison, registerValues, sameRegisters } from './compare'
import { MachinePair, type Advance, type PairOptions, type Side } from './pair'
import { reportText, type Difference, type TestedBlock, type TracedInsn } from './report'
import { SerialComparison } from './serial'

/** Code of the error a difference stops the machines with. */
export const LOCKSTEP_DIFFERENCE = 'lockstep-difference'

/** Instructions between two comparisons of registers; of memory every MEMORY_STEPS, of devices every DEVICE_STEPS of them. */
const STEP_INSTRUCTIONS = 20_000
const MEMORY_STEPS = 8
const DEVICE_STEPS = 512
/** Steps that the second pass looks at one block at a time before it gives up. */
const NARROW_STEPS = 4 * MEMORY_STEPS
/** Differing pieces of memory that are told. */
const TOLD_PIECES = 16
/** Time asleep of an idle guest, in host time: its own goes on to the next timer at once. */
const IDLE_NAP_NS = 200_000

export interface LockstepOptions extends PairOptions {
  /** Host time, for the budget of slices. */
  readonly clock: HostClock
  /** What the guest says, once for both machines. */
  readonly output: (bytes: Uint8Array) => void
}

export interface LockstepFigures {
  readonly instructions: number
  /** Comparisons of all registers. */
  readonly steps: number
  readonly comparedPages: number
}

/** What is different between the machines now. */
type Found = Pick<Difference, 'memory' | 'devices' | 'end' | 'serial'>

interface Input { readonly step: number; readonly bytes: Uint8Array }

/** A pair, and what it is compared by. One pass is one of these. */
class Pass {
  readonly pair: MachinePair
  readonly memory: MemoryComparison
  private readonly serial: SerialComparison
  /** Steps begun. */
  steps = 0

  constructor(options: PairOptions, output: (bytes: Uint8Array) => void) {
    this.serial = new SerialComparison(output)
    this.pair = new MachinePair(options, { said: (side: Side, bytes: Uint8Array) => this.serial.said(side, bytes) })
    this.memory = new MemoryComparison(this.pair.reference, this.pair.tested)
  }

  /** @param deep memory too; @param devices and devices */
  compare(advance: Advance, deep: boolean, devices: boolean): Found | undefined {
    const { reference, tested } = this.pair
    const end = advance.kind === 'path' || advance.kind === 'end' ? advance : undefined
    const same = !end && sameRegisters(reference.cpu.state, tested.cpu.state)
    const memory = deep || !same ? this.memory.differences(TOLD_PIECES) : []
    const serial = this.serial.difference()
    const differing = devices || !same ? deviceDifferences(reference, tested) : []
    if (same && memory.length === 0 && differing.length === 0 && !serial) return undefined
    return { memory, devices: differing, end, serial }
  }
}

export class Lockstep {
  /** Nothing of the host is waited for but what is typed. */
  readonly awaitsHost = false
  private readonly pass: Pass
  private readonly inputs: Input[] = []
  /** Steps after which everything was equal. */
  private provenSteps = 0
  private wake: () => void = () => undefined
  private waiting: Uint8Array[] = []

  /** @throws VmmError as MachinePair */
  constructor(private readonly options: LockstepOptions) {
    this.pass = new Pass(options, options.output)
  }

  get figures(): LockstepFigures {
    const { pair, steps, memory } = this.pass
    return { instructions: pair.instructions, steps, comparedPages: memory.comparedPages }
  }

  /** Bytes typed at the guest. */
  type(bytes: Uint8Array): void {
    this.waiting.push(bytes)
    this.wake()
  }

  onWake(wake: () => void): void {
    this.wake = wake
  }

  // Machine time does not follow the host's.
  pauseClock(): void { /* stands by itself */ }
  resumeClock(): void { /* goes by instructions */ }

  /** As `Machine.runSlice`. A difference stops it with an error LOCKSTEP_DIFFERENCE, whose message is the report. */
  runSlice(budgetNs: number): SliceResult {
    const { clock } = this.options
    const start = clock.monotonicNs()
    do {
      for (const bytes of this.waiting.splice(0)) {
        this.inputs.push({ step: this.pass.steps, bytes })
        this.pass.pair.type(bytes)
      }
      const result = this.step()
      if (result) return result
    } while (clock.monotonicNs() - start < budgetNs)
    return { kind: 'busy' }
  }

  private step(): SliceResult | undefined {
    const { pass } = this
    const advance = advanceStep(pass)
    if (advance === 'idle' || advance === 'asleep') return { kind: 'idle', wakeNs: advance === 'idle' ? IDLE_NAP_NS : Infinity }
    const deep = pass.steps % MEMORY_STEPS === 0 || advance.kind === 'stopped'
    const found = pass.compare(advance, deep, pass.steps % DEVICE_STEPS === 0 || advance.kind === 'stopped')
    if (found) return { kind: 'stopped', reason: { kind: 'error', code: LOCKSTEP_DIFFERENCE, message: this.explain(found) } }
    if (advance.kind === 'stopped') return { kind: 'stopped', reason: advance.reason }
    if (deep) this.provenSteps = pass.steps
    return undefined
  }

  /** Runs the machines a second time, finely where they differed. */
  private explain(found: Found): string {
    this.options.log.log('info', 'lockstep', `a difference after ${this.pass.pair.instructions} instructions; running again to find where it begins`)
    const { decode } = this.pass.pair.tested.cpu
    return this.narrow(decode) ?? reportText(this.describe(this.pass, found, placeOf(this.pass), [], copyState(this.pass.pair.reference.cpu.state), this.pass.pair, false), decode)
  }

  private narrow(decode: Decode): string | undefined {
    const again = new Pass(this.options, () => undefined)
    const inputs = [...this.inputs]
    const typeDue = (): void => {
      while (inputs.length > 0 && inputs[0].step <= again.steps) again.pair.type((inputs.shift() as Input).bytes)
    }
    while (again.steps < this.provenSteps) {
      typeDue()
      const advance = advanceStep(again)
      if (typeof advance !== 'string' && advance.kind !== 'ran') break
    }
    again.memory.differences(0)
    for (const last = again.steps + NARROW_STEPS; again.steps < last;) {
      typeDue()
      const report = this.narrowStep(again, decode)
      if (report) return report
    }
    return undefined
  }

  /** One step of the first pass, in the smallest steps there are. */
  private narrowStep(pass: Pass, decode: Decode): string | undefined {
    const { pair } = pass
    pass.steps++
    let advance = pair.prepare()
    if (pair.tested.isHalted && pair.reference.isHalted) {
      pair.skipIdle()
      return undefined
    }
    const end = pair.instructions + pair.stretch(STEP_INSTRUCTIONS)
    for (let events = true; ; events = false) {
      const at = { instructions: pair.instructions, nowNs: pair.nowNs }
      const before = copyState(pair.reference.cpu.state)
      const trace: TracedInsn[] = []
      const entered: TestedBlock[] = []
      if (advance.kind === 'ran') advance = pair.advance(1, events, (side) => (side === 'tested' ? entered.push(placeOf(pass)) : trace.push(traced(pass))))
      const block = entered.at(0) ?? placeOf(pass)
      const found = pass.compare(advance, true, false)
      if (found) return reportText(this.describe(pass, found, block, trace, before, at, true), decode)
      if (pair.instructions >= end || advance.kind !== 'ran' || pair.tested.isHalted) return undefined
    }
  }

  private describe(
    { pair }: Pass, found: Found, block: TestedBlock, trace: readonly TracedInsn[], before: ReturnType<typeof copyState>,
    at: { readonly instructions: number; readonly nowNs: number }, exact: boolean,
  ): Difference {
    const registers = registerValues(before, pair.reference.cpu.state, pair.tested.cpu.state)
    return { tiers: this.options.tiers, instructions: at.instructions, nowNs: at.nowNs, block, trace, registers, exact, ...found }
  }
}

/** Runs a pass on by one step. `idle`: time went on to a timer; `asleep`: nothing happens before an input. */
function advanceStep(pass: Pass): Advance | 'idle' | 'asleep' {
  const { pair } = pass
  pass.steps++
  const prepared = pair.prepare()
  if (prepared.kind !== 'ran') return prepared
  if (pair.tested.isHalted && pair.reference.isHalted) return pair.skipIdle() ? 'idle' : 'asleep'
  return pair.advance(pair.stretch(STEP_INSTRUCTIONS), true)
}

function placeOf({ pair }: Pass): TestedBlock {
  const { lo, hi, modeKey, cpl, tier } = pair.tested.cpu.spot()
  return { address: (BigInt(hi) << 32n) | BigInt(lo), modeKey, cpl, tier }
}

function traced({ pair }: Pass): TracedInsn {
  const { cpu } = pair.reference
  const { lo, hi, modeKey } = cpu.spot()
  return { address: (BigInt(hi) << 32n) | BigInt(lo), modeKey, bytes: cpu.codeHere() }
}

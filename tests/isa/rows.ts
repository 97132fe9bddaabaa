/** Runs the instruction tests over rows of the table: cases for every form, each engine against the CPU or the oracle. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { formsOf } from '../../src/main/vmm/cpu/isa/forms'
import type { Form, InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { differences, report, type Difference } from './compare'
import type { IsaCase, IsaEngine } from './engine'
import { makeCase, modesOf } from './generate'
import { Random } from './random'
import { nativeExclusion } from './exclusions'
import { NO_VECTOR, TIMED_OUT, type IsaRecord } from './records'
import { makersDiffer } from './undefined'

export interface RowResult {
  readonly row: InsnRow
  readonly cases: number
  /** Of them, on engines that run a share. */
  readonly sampled: number
  /** Cases compared with the real CPU; 0 for rows compared with the oracle only. */
  readonly native: number
  readonly failures: number
  /** A few failing cases in full. */
  readonly reports: readonly string[]
}

export interface RowRun {
  readonly decode: Decode
  /** Least cases of a row, and of each of its forms. */
  readonly perRow: number
  readonly perForm: number
  /** Cases of each form that engines which are slow to prepare run. */
  readonly sampledPerForm: number
  readonly seed: number
  /** Undefined where this computer cannot run them. */
  readonly native: IsaEngine | undefined
  /** Reference for what the CPU cannot show; also compared with the CPU itself. */
  readonly oracle: IsaEngine
  /** Compared with the CPU, or with the oracle where the CPU cannot say. */
  readonly engines: readonly IsaEngine[]
}

const MAX_REPORTS = 2
/** More cases than are asked for, as some turn out to run themselves. */
const RESERVE = 1.05

/** @param least cases of all forms together: where one's cases are mostly thrown away, the others have more */
export function casesOf(row: InsnRow, decode: Decode, perForm: number, random: Random, least = 0): IsaCase[] {
  const cases: IsaCase[] = []
  const forms = formsOf(row).filter((form) => modesOf(form).length > 0)
  for (const form of forms) addCases(cases, form, perForm, decode, random)
  for (let turn = 0; cases.length < least && turn < forms.length; turn++) addCases(cases, forms[turn], least - cases.length, decode, random)
  return cases
}

function addCases(cases: IsaCase[], form: Form, wanted: number, decode: Decode, random: Random): void {
  const modes = modesOf(form)
  for (let made = 0, tries = 0; made < wanted && tries < wanted * 6; tries++) {
    // 64-bit mode half of the time where it is possible.
    const mode = random.chance(50) ? modes[0] : random.pick(modes)
    const one = makeCase(form, mode, random, decode)
    if (!one || makersDiffer(one)) continue
    cases.push(one)
    made++
  }
}

function hash(text: string): number {
  let h = 0x811c_9dc5
  for (const char of text) h = Math.imul(h ^ char.charCodeAt(0), 0x0100_0193)
  return h >>> 0
}

class RowTally {
  failures = 0
  readonly reports: string[] = []
  note(one: IsaCase, engines: readonly [string, string], found: readonly Difference[], seed: number): void {
    this.failures++
    if (this.reports.length < MAX_REPORTS) this.reports.push(`${report(one, engines, found)}\n  (NB_ISA_SEED=${seed})`)
  }
}

/** True where a branch goes into the instruction's own bytes: it would run again, or run its tail, before INT3 stops it. */
function runsItself({ input, length, form }: IsaCase, { vector, rip }: IsaRecord): boolean {
  if (form.row.mnemonic === 'INT3') return false
  return vector === NO_VECTOR && rip >= input.rip && rip < input.rip + BigInt(length)
}

/** One row on every engine. */
export function runRow(row: InsnRow, run: RowRun): RowResult {
  const random = new Random(run.seed ^ hash(row.mnemonic + row.encoding + row.operands))
  const useNative = run.native !== undefined && nativeExclusion(row) === undefined
  const forms = formsOf(row).filter((form) => modesOf(form).length > 0).length
  const least = Math.ceil(run.perRow * RESERVE)
  const perForm = Math.max(run.perForm, Math.ceil(least / forms))
  const every = Math.max(1, Math.floor(perForm / run.sampledPerForm))
  return { row, ...runCases(casesOf(row, run.decode, perForm, random, least), useNative ? run.native : undefined, { ...run, every }) }
}

export interface CaseRun extends Pick<RowRun, 'seed' | 'oracle' | 'engines'> {
  /** Engines that are slow to prepare run one case in so many. */
  readonly every: number
}

/** @param native the real CPU where these cases may run on it; otherwise the oracle is the reference */
export function runCases(made: readonly IsaCase[], native: IsaEngine | undefined, run: CaseRun): Omit<RowResult, 'row'> {
  const known = run.oracle.run(made)
  const cases = made.filter((one, i) => !runsItself(one, known[i]))
  const oracleResults = known.filter((result, i) => !runsItself(made[i], result))
  const tally = new RowTally()
  const every = Math.max(1, Math.min(run.every, cases.length))
  const sample = cases.filter((_, i) => i % every === 0)
  const expected = native ? native.run(cases) : oracleResults
  for (const engine of native ? [run.oracle, ...run.engines] : run.engines) {
    const [some, step] = engine.sampled ? [sample, every] : [cases, 1]
    const actual = engine === run.oracle ? oracleResults : engine.run(some)
    some.forEach((one, at) => {
      const i = at * step
      if (expected[i].vector === TIMED_OUT) return
      const found = differences(one, expected[i], actual[at])
      if (found.length > 0) tally.note(one, [native ? 'cpu' : 'oracle', engine.name], found, run.seed)
    })
  }
  return { cases: cases.length, sampled: sample.length, native: native ? cases.length : 0, failures: tally.failures, reports: tally.reports }
}

/**
 * Every row of the instruction table, every form: random operands, flags and addressing, against the real CPU where user
 * mode allows it, else against the oracle. NB_ISA_ROW_N: least cases of a row (default 2000); NB_ISA_N: of each of its forms
 * (default 200). NB_ISA_SAMPLE: cases of each form on translated tiers (default 50). NB_ISA_SEED: other random values (default 1).
 * NB_ISA_ROWS: regular expression over "MNEMONIC encoding". NB_ISA_REPORT: file for the counts per row, as JSON lines.
 */
import { appendFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import type { InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { testEngines } from './engines'
import { nativeExclusion } from './exclusions'
import { createNativeEngine, nativeProblem } from './native'
import { createOracleEngine } from './oracle-engine'
import { runRow, type RowResult, type RowRun } from './rows'

const perRow = Number(process.env.NB_ISA_ROW_N ?? 2000)
const perForm = Number(process.env.NB_ISA_N ?? 200)
const sampledPerForm = Number(process.env.NB_ISA_SAMPLE ?? 50)
const seed = Number(process.env.NB_ISA_SEED ?? 1)
const wanted = new RegExp(process.env.NB_ISA_ROWS ?? '.')

function describeResult({ row, cases, sampled, native, failures }: RowResult): string {
  const { mnemonic, encoding, operands, modes } = row
  return `${JSON.stringify({ mnemonic, encoding, operands, modes, cases, sampled, native, failures, excluded: nativeExclusion(row) })}\n`
}

function summary(results: readonly RowResult[], engines: RowRun['engines']): string {
  const sum = (of: (result: RowResult) => number): number => results.reduce((total, result) => total + of(result), 0)
  const least = (of: (result: RowResult) => number): number => Math.min(...results.map(of))
  const names = (sampled: boolean): string => engines.filter((engine) => (engine.sampled ?? false) === sampled).map(({ name }) => name).join(', ')
  return `${results.length} rows. ${names(false)}: ${sum((r) => r.cases)} cases, no row fewer than ${least((r) => r.cases)}; ` +
    `${names(true)}: ${sum((r) => r.sampled)} each, no row fewer than ${least((r) => r.sampled)}. ` +
    `${sum((r) => r.native)} cases on the real CPU, ${results.filter(({ native }) => native === 0).length} rows with the oracle alone; ` +
    `${sum((r) => r.failures)} differences; seed ${seed}`
}

/** The suite over the rows that `belongs` takes. */
export function testRows(title: string, belongs: (row: InsnRow) => boolean): void {
  const rows = isaRows.filter((row) => belongs(row) && wanted.test(`${row.mnemonic} ${row.encoding}`))
  const results: RowResult[] = []
  let run: RowRun

  beforeAll(() => {
    const decode = createDecoder(isaRows, () => true)
    const problem = nativeProblem()
    if (problem) console.warn(`No comparison with the real CPU: ${problem}`)
    const native = problem ? undefined : createNativeEngine()
    run = { decode, perRow, perForm, sampledPerForm, seed, native, oracle: createOracleEngine(decode), engines: testEngines() }
  })

  afterAll(() => {
    if (results.length > 0) console.log(summary(results, run.engines))
    const file = process.env.NB_ISA_REPORT
    if (file) appendFileSync(file, results.map(describeResult).join(''))
  })

  describe(title, () => {
    const nameOf = (row: InsnRow): string => `${row.mnemonic} ${row.encoding} ${row.operands} ${row.modes ?? ''}`.trim()
    it.each(rows.map((row) => [nameOf(row), row] as const))('%s', (_name, row) => {
      const result = runRow(row, run)
      results.push(result)
      expect(result.reports.join('\n\n')).toBe('')
      expect(result.failures).toBe(0)
      expect(result.cases).toBeGreaterThanOrEqual(perRow)
      if (run.native && nativeExclusion(row) === undefined) expect(result.native).toBe(result.cases)
    })

    it('were all run', () => {
      expect(results.length).toBe(rows.length)
    })
  })
}

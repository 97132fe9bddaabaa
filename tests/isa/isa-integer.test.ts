/**
 * Every row of the instruction table, every form: random operands, flags and addressing, against the real CPU where user
 * mode allows it, else against the oracle. NB_ISA_N: cases per form (default 200). NB_ISA_ROW_N: cases
 * per row, for rows with few forms (default: no more). NB_ISA_SEED: other random values (default 1).
 * NB_ISA_EVERY: translated tiers run one case in so many (default 4).
 * NB_ISA_ROWS: regular expression over "MNEMONIC encoding". NB_ISA_REPORT: file for the counts per row, as JSON.
 */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { formsOf } from '../../src/main/vmm/cpu/isa/forms'
import type { InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { testEngines } from './engines'
import { nativeExclusion } from './exclusions'
import { createNativeEngine, nativeProblem } from './native'
import { createOracleEngine } from './oracle-engine'
import { runRow, type RowResult, type RowRun } from './rows'

const perForm = Number(process.env.NB_ISA_N ?? 200)
const perRow = Number(process.env.NB_ISA_ROW_N ?? 0)
const seed = Number(process.env.NB_ISA_SEED ?? 1)
const wanted = new RegExp(process.env.NB_ISA_ROWS ?? '.')
const rows = isaRows.filter((row) => wanted.test(`${row.mnemonic} ${row.encoding}`))

const results: RowResult[] = []
let run: RowRun | undefined

beforeAll(() => {
  const decode = createDecoder(isaRows, () => true)
  const problem = nativeProblem()
  if (problem) console.warn(`No comparison with the real CPU: ${problem}`)
  run = {
    decode, perForm, seed,
    native: problem ? undefined : createNativeEngine(),
    oracle: createOracleEngine(decode),
    engines: testEngines(),
  }
})

afterAll(() => {
  const sum = (of: (result: RowResult) => number): number => results.reduce((total, result) => total + of(result), 0)
  const excluded = results.filter(({ native }) => native === 0)
  const engines = run?.engines.map(({ name }) => name).join(', ') || 'oracle only'
  console.log(`${results.length} rows, ${sum((r) => r.cases)} cases, ${Math.min(...results.map((r) => r.cases))} or more of each, ${sum((r) => r.native)} on the real CPU, ` +
    `${sum((r) => r.failures)} differences; engines: ${engines}; seed ${seed}; ${excluded.length} rows not on the CPU`)
  const file = process.env.NB_ISA_REPORT
  if (file) writeFileSync(file, JSON.stringify(results.map(describeResult), null, 1))
})

function describeResult({ row, cases, native, failures }: RowResult): unknown {
  const { mnemonic, encoding, operands, modes } = row
  return { mnemonic, encoding, operands, modes, cases, native, failures, excluded: nativeExclusion(row) }
}

describe('instruction table', () => {
  const nameOf = (row: InsnRow): string => `${row.mnemonic} ${row.encoding} ${row.operands} ${row.modes ?? ''}`.trim()
  it.each(rows.map((row) => [nameOf(row), row] as const))('%s', (_name, row) => {
    const result = runRow(row, { ...run as RowRun, perForm: Math.max(perForm, Math.ceil(perRow / formsOf(row).length)) })
    results.push(result)
    expect(result.reports.join('\n\n')).toBe('')
    expect(result.failures).toBe(0)
    expect(result.cases).toBeGreaterThan(0)
    if (run?.native && nativeExclusion(row) === undefined) expect(result.native).toBeGreaterThan(0)
  })
})

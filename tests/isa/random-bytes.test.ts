/**
 * Random bytes, in 16-, 32- and 64-bit mode: what the decoder takes for an instruction must be one to the CPU too, with the
 * same operands, whatever prefixes come in whatever order. NB_ISA_RAW: cases (default 20000).
 * NB_ISA_SEED: other random values (default 1).
 */
import { describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import type { IsaCase } from './engine'
import { testEngines } from './engines'
import { nativeExclusion } from './exclusions'
import { makeRawCase } from './generate'
import { createNativeEngine, nativeProblem } from './native'
import { createOracleEngine } from './oracle-engine'
import { Random } from './random'
import { runCases } from './rows'
import { makersDiffer } from './undefined'

const wanted = Number(process.env.NB_ISA_RAW ?? 20_000)
const seed = Number(process.env.NB_ISA_SEED ?? 1)

describe('random bytes', () => {
  it.each([64, 32, 16] as const)('mean the same to every engine in %i-bit mode', (mode) => {
    const decode = createDecoder(isaRows, () => true)
    const random = new Random(seed + mode)
    const cases: IsaCase[] = []
    for (let tries = 0; cases.length < wanted / 3 && tries < wanted * 10; tries++) {
      const one = makeRawCase(isaRows, mode, random, decode)
      if (one && !makersDiffer(one) && (!one.insn || nativeExclusion(one.insn.row) === undefined)) cases.push(one)
    }
    const native = nativeProblem() ? undefined : createNativeEngine()
    const result = runCases(cases, native, { seed, oracle: createOracleEngine(decode), engines: testEngines(), every: 4 })
    expect(result.reports.join('\n\n')).toBe('')
    expect(result.failures).toBe(0)
    expect(result.cases).toBeGreaterThan(wanted / 4)
  })
})

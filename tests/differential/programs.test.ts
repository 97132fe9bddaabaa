/**
 * Random straight programs on every engine, against the real CPU where there is one: what no single-instruction test sees —
 * lazy flags handed on, partial registers, x87, MMX and SSE state, precise faults in the middle of a block.
 * NB_ISA_PROGRAMS: programs a mode (default 1500). NB_ISA_SEED: other random values (default 1).
 */
import { describe, expect, it } from 'vitest'
import { createDecoder } from '../../src/main/vmm/cpu/decode/decode'
import { isaRows } from '../../src/main/vmm/cpu/isa'
import { formKey } from '../../src/main/vmm/cpu/isa/forms'
import { differences, report } from '../isa/compare'
import { testEngines } from '../isa/engines'
import { createNativeEngine, nativeProblem } from '../isa/native'
import { createOracleEngine } from '../isa/oracle-engine'
import { makeProgram, straightForms } from '../isa/programs'
import { Random } from '../isa/random'
import { NO_VECTOR, TIMED_OUT } from '../isa/records'

const wanted = Number(process.env.NB_ISA_PROGRAMS ?? 1500)
const seed = Number(process.env.NB_ISA_SEED ?? 1)

describe('straight programs', () => {
  it.each([64, 32, 16] as const)('end in the same state on every engine in %i-bit mode', (mode) => {
    const decode = createDecoder(isaRows, () => true)
    const random = new Random(seed * 3 + mode)
    const forms = straightForms(isaRows, mode)
    const made = Array.from({ length: wanted }, () => makeProgram(forms, mode, random, decode))
    const programs = made.filter(({ program }) => program.length > 1)
    const oracle = createOracleEngine(decode)
    const reference = nativeProblem() ? oracle : createNativeEngine()
    const expected = reference.run(programs)
    const reports: string[] = []
    for (const engine of [...(reference === oracle ? [] : [oracle]), ...testEngines()]) {
      const actual = engine.run(programs)
      programs.forEach((program, i) => {
        if (expected[i].vector === TIMED_OUT || reports.length >= 4) return
        const found = differences(program, expected[i], actual[i])
        if (found.length > 0) {
          const keys = program.program.map(formKey).join('\n  ')
          reports.push(`${report(program, [reference.name, engine.name], found)}\n  ${keys}\n  (NB_ISA_SEED=${seed})`)
        }
      })
    }
    expect(reports.join('\n\n')).toBe('')
    // Enough of them must run to their end, or little is tested.
    expect(expected.filter(({ vector }) => vector === NO_VECTOR).length).toBeGreaterThan(programs.length / 3)
  })
})

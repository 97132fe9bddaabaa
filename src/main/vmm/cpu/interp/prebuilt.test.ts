import { describe, expect, it } from 'vitest'
import { allHelpers } from '../helpers'
import { isaRows } from '../isa'
import { formsOf } from '../isa/forms'
import { buildInterpreter } from './builder'
import { numberHandlers } from './handler-table'
import { loadInterpreter, prebuildInterpreter } from './prebuilt'

describe('tier 0 built ahead of time', () => {
  it('is what building it gives, through plain data', () => {
    const built = buildInterpreter(isaRows)
    const prebuilt = prebuildInterpreter(isaRows)
    const loaded = loadInterpreter(isaRows, { ...prebuilt, plan: JSON.parse(JSON.stringify(prebuilt.plan)) as typeof prebuilt.plan })
    expect(loaded?.helpers).toEqual(built.helpers)
    expect(loaded?.tableSize).toBe(built.tableSize)
    expect({ ...loaded?.calls, helper: 0 }).toEqual({ ...built.calls, helper: 0 })
    for (const helper of built.helpers) expect(loaded?.calls.helper.get(helper)).toBe(built.calls.helper.get(helper))
    const handlers = numberHandlers(isaRows)
    expect(loaded?.handlers.size).toBe(handlers.size)
    for (const form of isaRows.flatMap(formsOf)) expect(loaded?.handlers.of(form)).toEqual(handlers.of(form))
    expect(Buffer.from(prebuilt.bytes).equals(Buffer.from(built.bytes))).toBe(true)
  })

  it('knows each helper by one name', () => {
    expect(new Set(allHelpers.map(({ name }) => name)).size).toBe(allHelpers.length)
  })

  it('is refused where the table is another', () => {
    const prebuilt = prebuildInterpreter(isaRows)
    expect(loadInterpreter(isaRows.slice(1), prebuilt)).toBeUndefined()
    expect(loadInterpreter(isaRows, { ...prebuilt, plan: { ...prebuilt.plan, helpers: [...prebuilt.plan.helpers.slice(1), 'unknown'] } })).toBeUndefined()
  })
})

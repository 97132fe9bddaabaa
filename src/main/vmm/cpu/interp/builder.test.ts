import { describe, expect, it } from 'vitest'
import { isaRows } from '../isa'
import { buildInterpreter } from './builder'
import { numberHandlers } from './handler-table'

describe('interpreter builder', () => {
  it('builds a valid module with a handler for every form of the table', () => {
    const { bytes } = buildInterpreter(isaRows)
    expect(WebAssembly.validate(bytes as BufferSource)).toBe(true)
    new WebAssembly.Module(bytes as BufferSource)
  })

  it('gives every form its own slot', () => {
    const table = numberHandlers(isaRows)
    expect(table.size).toBeGreaterThan(isaRows.length)
  })
})

import { describe, expect, it } from 'vitest'
import { isaRows } from '../../isa'
import { FREQUENT, frequentForms } from './forms'

describe('the forms with a case in the switch', () => {
  const forms = frequentForms(isaRows)

  it('are of encodings that the table has', () => {
    const encodings = new Set(forms.map(({ row }) => row.encoding))
    expect([...FREQUENT].filter((encoding) => !encodings.has(encoding))).toEqual([])
  })

  it('are each there once, and few enough for one function', () => {
    expect(new Set(forms).size).toBe(forms.length)
    expect(forms.length).toBeLessThan(400)
  })
})

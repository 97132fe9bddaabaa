import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { systemCauseOf } from './system-cause'

function thrownBy(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('nothing was refused')
}

describe('the cause of a refusal', () => {
  it('is the system’s, without call and path', () => {
    expect(systemCauseOf(thrownBy(() => readFileSync('/nowhere/at/all')))).toEqual({ detail: 'no such file or directory', systemCode: 'ENOENT' })
    expect(systemCauseOf(thrownBy(() => readFileSync('/tmp')))).toEqual({ detail: 'illegal operation on a directory', systemCode: 'EISDIR' })
  })

  it('is what was said where it is not the system’s', () => {
    expect(systemCauseOf(new Error('odd, very'))).toEqual({ detail: 'odd, very' })
    expect(systemCauseOf('odd')).toEqual({ detail: 'odd' })
  })
})

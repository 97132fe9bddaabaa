import { describe, expect, it } from 'vitest'
import { createFormats, scaleBytes } from './use-format'

describe('formats', () => {
  const en = createFormats('en')
  const fr = createFormats('fr')

  it('scales bytes to binary units', () => {
    expect(scaleBytes(1023)).toEqual({ value: 1023, unit: 'B' })
    expect(scaleBytes(1536)).toEqual({ value: 1.5, unit: 'KiB' })
    expect(en.bytes(512 * 1024 * 1024)).toBe('512 MiB')
    expect(en.bytes(1.5 * 1024 ** 3)).toBe('1.5 GiB')
    expect(en.bytes(-5)).toBe('0 B')
  })

  it('speaks French', () => {
    expect(fr.bytes(1.5 * 1024 ** 3)).toBe('1,5 Gio')
    expect(fr.duration(90_000)).toBe('1 j 1 h')
  })

  it('keeps one digit of small shares', () => {
    expect(en.percent(0.0234)).toBe('2.3%')
    expect(en.percent(0.87)).toBe('87%')
  })

  it('writes durations in two units', () => {
    expect(en.duration(59.9)).toBe('59 s')
    expect(en.duration(61)).toBe('1 min 1 s')
    expect(en.duration(3_700)).toBe('1 h 1 min')
  })

  it('never shows an invalid date', () => {
    expect(en.dateTime('garbage')).toBe('–')
  })
})

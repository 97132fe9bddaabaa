import { describe, expect, it } from 'vitest'
import { readPreferences } from './preferences'

describe('preferences', () => {
  it('follows the system at first', () => {
    expect(readPreferences(null, ['fr-FR'])).toEqual({ theme: 'system', language: 'fr', consoleFontSize: 13, consoleScrollback: 10_000 })
  })

  it('keeps what is valid and replaces the rest', () => {
    const stored = { theme: 'dark', language: 'xx', consoleFontSize: 400, consoleScrollback: 2_000, other: 1 }
    expect(readPreferences(stored, ['en'])).toEqual({ theme: 'dark', language: 'en', consoleFontSize: 13, consoleScrollback: 2_000 })
  })
})

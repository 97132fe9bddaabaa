import { describe, expect, it } from 'vitest'
import { ERROR_CODES } from '@contract/index'
import { createMessages, pickLanguage } from '.'
import { camelCase } from '../composables/use-error-text'
import { en } from './en'
import { fr } from './fr'

type Tree = { readonly [key: string]: string | Tree }

function flatten(tree: Tree, path = ''): Map<string, string> {
  const result = new Map<string, string>()
  for (const [key, value] of Object.entries(tree)) {
    const here = path ? `${path}.${key}` : key
    if (typeof value === 'string') result.set(here, value)
    else for (const [inner, text] of flatten(value, here)) result.set(inner, text)
  }
  return result
}

const placeholders = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()

describe('locales', () => {
  const english = flatten(en)
  const french = flatten(fr)

  it('have the same keys', () => {
    expect([...french.keys()].sort()).toEqual([...english.keys()].sort())
  })

  it.each([...english])('%s keeps its placeholders', (key, text) => {
    expect(placeholders(french.get(key) ?? '')).toEqual(placeholders(text))
    expect(french.get(key)).not.toBe('')
  })

  it('every text compiles', () => {
    const { global } = createMessages('fr')
    for (const key of english.keys()) expect(global.t(key), key).not.toBe(key)
  })

  it('say every error of the contract, and what to do', () => {
    const missing = ERROR_CODES.flatMap((code) => ['title', 'advice'].map((part) => `error.${camelCase(code)}.${part}`))
      .filter((key) => !english.get(key) || !french.get(key))
    expect(missing).toEqual([])
  })

  it('French has its spaces, quotes and apostrophes', () => {
    // No-break spaces stand before high signs and inside quotes, so that no line begins or ends with them.
    const wrong = [...french].filter(([, text]) => / [;:!?»%]|« |«[^\u00a0]|[^\u00a0]»|[\p{L}]'|\.\.\.|[^\u202f\u00a0\p{N}/a-z.][;!?](?!\w)/u.test(text.replace(/\{\w+\}/g, 'x')))
    expect(wrong).toEqual([])
  })

  it('picks the first language we speak', () => {
    expect(pickLanguage(['de-DE', 'fr-CA', 'en'])).toBe('fr')
    expect(pickLanguage(['de'])).toBe('en')
  })
})

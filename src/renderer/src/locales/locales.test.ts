import { describe, expect, it } from 'vitest'
import { createMessages, pickLanguage } from '.'
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

  it('picks the first language we speak', () => {
    expect(pickLanguage(['de-DE', 'fr-CA', 'en'])).toBe('fr')
    expect(pickLanguage(['de'])).toBe('en')
  })
})

/** What the manager says to people: the key of a sentence and the values in it, so that each client says it in its own language. */
import { z } from 'zod'
import { PHRASES } from './phrases'

type Phrases = typeof PHRASES
type Family = keyof Phrases

/** `machine.nameTaken` */
export type PhraseKey = { [F in Family]: `${F}.${keyof Phrases[F] & string}` }[Family]

/** A list is shown with commas between its parts. */
export type PhraseValue = string | number | Phrase | readonly PhraseValue[]

export interface Phrase {
  readonly key: PhraseKey
  readonly values?: Readonly<Record<string, PhraseValue>> | undefined
}

type TextOf<K> = K extends `${infer F}.${infer N}` ? (F extends Family ? (N extends keyof Phrases[F] ? Phrases[F][N] : never) : never) : never
type NamesIn<T> = T extends `${string}{${infer Name}}${infer Rest}` ? Name | NamesIn<Rest> : never
/** The values that the sentence names. */
export type PhraseValues<K extends PhraseKey> = Readonly<Record<NamesIn<TextOf<K>>, PhraseValue>>

/** The compiler holds the values to what the sentence names. */
export function phrase<K extends PhraseKey>(key: K, ...[values]: NamesIn<TextOf<K>> extends never ? [] : [PhraseValues<K>]): Phrase {
  return values === undefined ? { key } : { key, values }
}

export const PHRASE_KEYS = Object.entries(PHRASES).flatMap(([family, texts]) => Object.keys(texts).map((name) => `${family}.${name}`)) as PhraseKey[]

const KNOWN: ReadonlySet<string> = new Set(PHRASE_KEYS)
export const isPhraseKey = (key: string): key is PhraseKey => KNOWN.has(key)

/** English, with its `{name}`s. */
export function phraseText(key: PhraseKey): string {
  const [family, name] = key.split('.')
  return (PHRASES as Readonly<Record<string, Readonly<Record<string, string>>>>)[family][name]
}

/** Names of the values in a text, in their order. */
export const namesIn = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)

const phraseValueSchema: z.ZodType<PhraseValue> = z.lazy(() => z.union([z.string(), z.number(), phraseSchema, z.array(phraseValueSchema)]))

export const phraseSchema: z.ZodType<Phrase> = z.object({
  key: z.custom<PhraseKey>((key) => typeof key === 'string' && isPhraseKey(key), 'not a phrase of this version'),
  values: z.record(z.string(), phraseValueSchema).optional(),
}).refine(({ key, values }) => namesIn(phraseText(key)).every((name) => values !== undefined && Object.hasOwn(values, name)), 'a value is missing')

/** A phrase of ours, or somebody else's words: the system's, a file's name. */
export const said = z.union([z.string(), phraseSchema])
export type Said = string | Phrase

/** @param say one phrase in the language wanted; phrases among the values are said by it too */
export function sayValue(value: PhraseValue, say: (phrase: Phrase) => string): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value)
  return 'key' in value ? say(value) : value.map((part) => sayValue(part, say)).join(', ')
}

export function inEnglish(what: Said): string {
  if (typeof what === 'string') return what
  const { key, values = {} } = what
  return phraseText(key).replace(/\{(\w+)\}/g, (_whole, name: string) => sayValue(values[name] ?? '', inEnglish))
}

/** What the manager says, in the language of the interface. */
import { useI18n } from 'vue-i18n'
import { sayValue, type Said } from '../api/types'

/** What stands in the middle of other sentences, such as the cause of a crash, made into a sentence of its own. */
export function sentence(text: string): string {
  const trimmed = text.trim()
  if (trimmed === '') return ''
  // A path or a name keeps its letters.
  const first = /^[\p{Ll}][\p{L}’']*\s/u.test(trimmed) ? trimmed[0].toUpperCase() + trimmed.slice(1) : trimmed
  return /[.!?…]$/.test(first) ? first : `${first}.`
}

/** Call in a component's setup. */
export function useSaid(): (what: Said | undefined) => string {
  const { t } = useI18n()
  function say(what: Said | undefined): string {
    if (what === undefined || typeof what === 'string') return what ?? ''
    const values = Object.entries(what.values ?? {}).map(([name, value]) => [name, sayValue(value, say)])
    return t(`manager.${what.key}`, Object.fromEntries(values) as Record<string, string>)
  }
  return say
}

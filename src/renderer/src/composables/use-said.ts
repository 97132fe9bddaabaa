/** What the manager says, in the language of the interface. */
import { useI18n } from 'vue-i18n'
import { sayValue, type Said } from '../api/types'

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

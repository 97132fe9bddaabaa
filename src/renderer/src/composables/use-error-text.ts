/** Errors for people, in the language in use: what it is, what was said of it, and what to do. */
import { useI18n } from 'vue-i18n'
import { toApiError } from '../api/errors'
import { useSaid } from './use-said'

export interface ErrorText {
  readonly title: string
  /** What the manager says of it, with names and numbers. */
  readonly message: string
  readonly advice: string
}

/** `name-taken` as the key of its message. */
export const camelCase = (code: string): string => code.replace(/-(\w)/g, (_match, letter: string) => letter.toUpperCase())

/** Call in a component's setup. */
export function useErrorText(): (error: unknown) => ErrorText {
  const { t, te } = useI18n()
  const say = useSaid()
  return (raw) => {
    const { code, message: words, phrase } = toApiError(raw)
    const message = say(phrase ?? words)
    const key = `error.${camelCase(code)}`
    const isKnown = te(`${key}.title`)
    return { title: isKnown ? t(`${key}.title`) : t('notice.unexpected'), message, advice: isKnown ? t(`${key}.advice`) : t('notice.code', { code }) }
  }
}

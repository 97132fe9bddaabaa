/** What a person chooses for this window: looks, language, console. Kept by the page itself, per computer. */
import { defineStore } from 'pinia'
import { ref, watch } from 'vue'
import { isLanguage, pickLanguage, type Language } from '../locales'
import { useTheme, type ThemeChoice } from '../composables/use-theme'

export interface Preferences {
  theme: ThemeChoice
  language: Language
  consoleFontSize: number
  consoleScrollback: number
}

const KEY = 'nestbox.preferences'
const THEMES: readonly string[] = ['light', 'dark', 'system']

const between = (value: unknown, low: number, high: number, otherwise: number): number =>
  typeof value === 'number' && value >= low && value <= high ? Math.round(value) : otherwise

/** Whatever was stored, made safe. @param stored of any shape @param languages the browser's, best first */
export function readPreferences(stored: unknown, languages: readonly string[]): Preferences {
  const value = (typeof stored === 'object' && stored !== null ? stored : {}) as Partial<Record<keyof Preferences, unknown>>
  return {
    theme: typeof value.theme === 'string' && THEMES.includes(value.theme) ? (value.theme as ThemeChoice) : 'system',
    language: isLanguage(value.language) ? value.language : pickLanguage(languages),
    consoleFontSize: between(value.consoleFontSize, 8, 28, 13),
    consoleScrollback: between(value.consoleScrollback, 100, 100_000, 10_000),
  }
}

function load(): unknown {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? 'null')
  } catch {
    return null
  }
}

export const usePreferencesStore = defineStore('preferences', () => {
  const initial = readPreferences(load(), navigator.languages ?? [navigator.language])
  const theme = ref(initial.theme)
  const language = ref(initial.language)
  const consoleFontSize = ref(initial.consoleFontSize)
  const consoleScrollback = ref(initial.consoleScrollback)

  watch(theme, (choice) => useTheme().choose(choice), { immediate: true })
  watch([theme, language, consoleFontSize, consoleScrollback], () => {
    const value: Preferences = {
      theme: theme.value, language: language.value, consoleFontSize: consoleFontSize.value, consoleScrollback: consoleScrollback.value,
    }
    localStorage.setItem(KEY, JSON.stringify(value))
  })
  return { theme, language, consoleFontSize, consoleScrollback }
})

/**
 * What a person chooses: looks, language, console, the end of the app. The manager keeps it for every window; the page keeps a
 * copy, so that its first picture already has the right colours.
 */
import { DEFAULT_PREFERENCES, preferences as schema, type Preferences } from '@contract/index'
import { defineStore } from 'pinia'
import { computed, ref, watch, type Ref } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import { pickLanguage } from '../locales'
import { useTheme } from '../composables/use-theme'

const KEY = 'nestbox.preferences'
const NAMES = Object.keys(schema.shape) as (keyof Preferences)[]

/** Whatever was stored, made safe: what is not valid is the default. */
export function readPreferences(stored: unknown): Preferences {
  const values = (typeof stored === 'object' && stored !== null ? stored : {}) as Record<string, unknown>
  const valid = NAMES.flatMap((name) => {
    const parsed = schema.shape[name].safeParse(values[name])
    return parsed.success ? [[name, parsed.data]] : []
  })
  return { ...DEFAULT_PREFERENCES, ...(Object.fromEntries(valid) as Partial<Preferences>) }
}

function load(): unknown {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? 'null')
  } catch {
    return null
  }
}

const differing = (from: Preferences, to: Preferences): Partial<Preferences> =>
  Object.fromEntries(NAMES.filter((name) => from[name] !== to[name]).map((name) => [name, to[name]]))

const field = <N extends keyof Preferences>(all: Ref<Preferences>, name: N) => computed({
  get: () => all.value[name],
  set: (value: Preferences[N]) => {
    all.value = { ...all.value, [name]: value }
  },
})

export const usePreferencesStore = defineStore('preferences', () => {
  /** As the manager knows them; what differs here is on its way. */
  let saved = readPreferences(load())
  const values = ref<Preferences>({ ...saved })
  let round = 0
  let onError: (error: unknown) => void = () => undefined
  const [theme, language, onQuit] = [field(values, 'theme'), field(values, 'language'), field(values, 'onQuit')]
  const [consoleFontSize, consoleScrollback] = [field(values, 'consoleFontSize'), field(values, 'consoleScrollback')]
  const locale = computed(() => (language.value === 'system' ? pickLanguage(navigator.languages ?? [navigator.language]) : language.value))

  /** Takes over what the manager says; a change made here meanwhile stays. */
  function apply(known: Preferences): void {
    round++
    const pending = differing(saved, values.value)
    saved = known
    values.value = { ...known, ...pending }
  }

  async function save(changes: Partial<Preferences>): Promise<void> {
    round++
    try {
      saved = await useApi().setPreferences(changes)
    } catch (error) {
      // Shown as it is kept: a choice that was not saved must not look as if it were.
      values.value = { ...saved }
      onError(error)
    }
  }

  watch(theme, (choice) => useTheme().choose(choice), { immediate: true })
  watch(values, (now) => {
    localStorage.setItem(KEY, JSON.stringify(now))
    const changes = differing(saved, now)
    if (Object.keys(changes).length > 0) void save(changes)
  })

  async function loadAll(): Promise<void> {
    const before = round
    const known = await useApi().preferences()
    // An answer that was overtaken by a change is old.
    if (round === before) apply(known)
  }

  /** @param report a choice could not be saved */
  function follow(report: (error: unknown) => void): Stop {
    onError = report
    return useApi().onPreferences(apply)
  }

  return { theme, language, locale, consoleFontSize, consoleScrollback, onQuit, load: loadAll, follow }
})

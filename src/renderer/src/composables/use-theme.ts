/** Light, dark or the system's choice: sets `html.dark`, which both our variables and Element Plus follow. */
import { computed, readonly, ref, watchEffect, type Ref } from 'vue'

export type ThemeChoice = 'light' | 'dark' | 'system'

export interface Theme {
  readonly isDark: Readonly<Ref<boolean>>
  choose(choice: ThemeChoice): void
}

function createTheme(): Theme {
  const choice = ref<ThemeChoice>('system')
  const media = typeof window.matchMedia === 'function' ? window.matchMedia('(prefers-color-scheme: dark)') : undefined
  const systemDark = ref(media?.matches ?? false)
  media?.addEventListener('change', (event) => {
    systemDark.value = event.matches
  })
  const isDark = computed(() => (choice.value === 'system' ? systemDark.value : choice.value === 'dark'))
  watchEffect(() => document.documentElement.classList.toggle('dark', isDark.value), { flush: 'sync' })
  return {
    isDark: readonly(isDark),
    choose: (next) => {
      choice.value = next
    },
  }
}

let theme: Theme | undefined

/** One theme per page. */
export function useTheme(): Theme {
  theme ??= createTheme()
  return theme
}

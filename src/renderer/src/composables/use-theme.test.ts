import { describe, expect, it } from 'vitest'
import { useTheme } from './use-theme'

describe('theme', () => {
  it('puts the dark class on the page and takes it off', () => {
    const theme = useTheme()
    theme.choose('dark')
    expect(document.documentElement.classList.contains('dark')).toBe(true)
    expect(theme.isDark.value).toBe(true)
    theme.choose('light')
    expect(document.documentElement.classList.contains('dark')).toBe(false)
  })
})

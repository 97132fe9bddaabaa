import { DEFAULT_PREFERENCES } from '@contract/index'
import { flushPromises } from '@vue/test-utils'
import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { setApi } from '../api/current'
import { ApiError } from '../api/errors'
import { FakeApi } from '../api/fake-api'
import { readPreferences, usePreferencesStore } from './preferences'

let api: FakeApi

beforeEach(() => {
  localStorage.clear()
  setActivePinia(createPinia())
  api = new FakeApi()
  setApi(api)
})

describe('preferences', () => {
  it('follow the system at first', () => {
    expect(readPreferences(null)).toEqual(DEFAULT_PREFERENCES)
    expect(usePreferencesStore().locale).toBe('en')
  })

  it('keep what is valid and replace the rest', () => {
    const stored = { theme: 'dark', language: 'xx', consoleFontSize: 400, consoleScrollback: 2_000, other: 1 }
    expect(readPreferences(stored)).toEqual({ ...DEFAULT_PREFERENCES, theme: 'dark', consoleScrollback: 2_000 })
  })

  it('are the manager’s, and go there when they change', async () => {
    api.preferenceValues = { ...DEFAULT_PREFERENCES, language: 'fr', onQuit: 'keep' }
    const preferences = usePreferencesStore()
    await preferences.load()
    expect([preferences.locale, preferences.onQuit]).toEqual(['fr', 'keep'])
    preferences.theme = 'dark'
    await flushPromises()
    expect(api.preferenceValues).toMatchObject({ theme: 'dark', language: 'fr', onQuit: 'keep' })
    expect(JSON.parse(localStorage.getItem('nestbox.preferences') ?? '')).toMatchObject({ theme: 'dark' })
  })

  it('follow another window without an echo', async () => {
    const preferences = usePreferencesStore()
    await preferences.load()
    preferences.follow(() => undefined)
    await api.setPreferences({ consoleFontSize: 20 })
    await flushPromises()
    expect(preferences.consoleFontSize).toBe(20)
    expect(api.calls.filter((call) => call === 'setPreferences')).toHaveLength(1)
  })

  it('keep a choice that is made while they load', async () => {
    const preferences = usePreferencesStore()
    const loading = preferences.load()
    preferences.theme = 'light'
    await loading
    await flushPromises()
    expect(preferences.theme).toBe('light')
    expect(api.preferenceValues.theme).toBe('light')
  })

  it('go back and say why when they cannot be saved', async () => {
    const preferences = usePreferencesStore()
    await preferences.load()
    const report = vi.fn()
    preferences.follow(report)
    api.failures.set('setPreferences', new ApiError('disk-full', 'full'))
    preferences.theme = 'dark'
    await flushPromises()
    expect(preferences.theme).toBe('system')
    expect(report).toHaveBeenCalledOnce()
  })
})

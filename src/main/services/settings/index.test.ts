import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { DEFAULT_PREFERENCES } from '../../../preload/contract'
import { readPreferences, Settings } from '.'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'nestbox-settings-'))
})
afterEach(() => {
  chmodSync(home, 0o700)
  rmSync(home, { recursive: true })
})

describe('preferences', () => {
  it('are the defaults at first, and kept from then on', async () => {
    const settings = new Settings(home)
    expect(await settings.get()).toEqual(DEFAULT_PREFERENCES)
    const told = vi.fn()
    settings.onDidChange(told)
    expect(await settings.set({ theme: 'dark', onQuit: 'suspend' })).toEqual({ ...DEFAULT_PREFERENCES, theme: 'dark', onQuit: 'suspend' })
    expect(told).toHaveBeenCalledOnce()
    expect(await new Settings(home).get()).toMatchObject({ theme: 'dark', onQuit: 'suspend' })
  })

  it('keep every change of several at once', async () => {
    const settings = new Settings(home)
    await Promise.all([settings.set({ theme: 'light' }), settings.set({ consoleFontSize: 20 }), settings.set({ language: 'fr' })])
    expect(JSON.parse(readFileSync(join(home, 'settings.json'), 'utf8'))).toMatchObject({ version: 1, theme: 'light', consoleFontSize: 20, language: 'fr' })
  })

  it('lose only what is not valid', () => {
    expect(readPreferences({ theme: 'pink', language: 'fr', consoleFontSize: 4000, other: 1 })).toEqual({ ...DEFAULT_PREFERENCES, language: 'fr' })
    expect(readPreferences(null)).toEqual(DEFAULT_PREFERENCES)
  })

  it('survive a damaged file', async () => {
    writeFileSync(join(home, 'settings.json'), '{"theme": "da')
    const settings = new Settings(home)
    expect(await settings.get()).toEqual(DEFAULT_PREFERENCES)
    expect(await settings.set({ theme: 'dark' })).toMatchObject({ theme: 'dark' })
  })

  it('stay as they are where they cannot be written, and say so', async () => {
    const settings = new Settings(join(home, 'gone'))
    writeFileSync(join(home, 'gone'), '')
    await expect(settings.set({ theme: 'dark' })).rejects.toMatchObject({ code: 'library-read-only' })
    expect(await settings.get()).toEqual(DEFAULT_PREFERENCES)
  })
})

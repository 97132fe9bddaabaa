import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DEFAULT_WINDOW_STATE, loadWindowState, sanitizeWindowState, saveWindowState } from './window-state'

const screens = [{ x: 0, y: 0, width: 1920, height: 1080 }]

describe('window state', () => {
  it('keeps a position that a screen shows', () => {
    const state = { x: 50, y: 60, width: 1000, height: 700, maximized: true }
    expect(sanitizeWindowState(state, screens)).toEqual(state)
  })

  it('drops a position on a screen that is gone', () => {
    expect(sanitizeWindowState({ x: 4000, y: 60, width: 1000, height: 700 }, screens))
      .toEqual({ width: 1000, height: 700, maximized: false })
  })

  it('never opens smaller than the layout needs', () => {
    expect(sanitizeWindowState({ width: 1, height: 1 }, screens)).toEqual({ width: 640, height: 480, maximized: false })
  })

  it.each([null, 3, 'x', {}, { width: 'a', height: 2 }, { width: Infinity, height: 3 }])('uses the default for %j', (stored) => {
    expect(sanitizeWindowState(stored, screens)).toEqual(DEFAULT_WINDOW_STATE)
  })

  it('survives a damaged file and writes a whole one', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'nestbox-window-')), 'deep', 'window.json')
    expect(loadWindowState(file, screens)).toEqual(DEFAULT_WINDOW_STATE)
    saveWindowState(file, { width: 900, height: 600, maximized: false })
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ width: 900, height: 600, maximized: false })
    writeFileSync(file, '{"width": 9')
    expect(loadWindowState(file, screens)).toEqual(DEFAULT_WINDOW_STATE)
  })
})

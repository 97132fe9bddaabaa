import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, describe, expect, it } from 'vitest'
import { modeOf, useSelectionStore } from './selection'

const visible = ['a', 'b', 'c', 'd']

describe('selection', () => {
  beforeEach(() => setActivePinia(createPinia()))

  it('replaces, toggles and ranges', () => {
    const selection = useSelectionStore()
    selection.select('b', 'single', visible)
    selection.select('d', 'range', visible)
    expect(selection.ids).toEqual(['b', 'c', 'd'])
    selection.select('a', 'range', visible)
    expect(selection.ids).toEqual(['a', 'b'])
    selection.select('b', 'toggle', visible)
    expect(selection.ids).toEqual(['a'])
    expect(selection.only).toBe('a')
  })

  it('moves with the keyboard and stops at the ends', () => {
    const selection = useSelectionStore()
    selection.move(1, false, visible)
    expect(selection.ids).toEqual(['a'])
    selection.move(-1, false, visible)
    expect(selection.ids).toEqual(['a'])
    selection.move(1, true, visible)
    selection.move(1, true, visible)
    expect(selection.ids).toEqual(['a', 'b', 'c'])
    selection.move(-1, true, visible)
    expect(selection.ids).toEqual(['a', 'b'])
    selection.move(1, false, [])
    expect(selection.ids).toEqual(['a', 'b'])
  })

  it('forgets machines that are gone', () => {
    const selection = useSelectionStore()
    selection.selectAll(visible)
    selection.retain(new Set(['c']))
    expect(selection.ids).toEqual(['c'])
  })

  it('selects singly when the range has no visible beginning', () => {
    const selection = useSelectionStore()
    selection.select('x', 'single', ['x'])
    selection.select('b', 'range', visible)
    expect(selection.ids).toEqual(['b'])
  })

  it('reads the mode from the keys', () => {
    expect(modeOf({ ctrlKey: false, metaKey: true, shiftKey: false })).toBe('toggle')
    expect(modeOf({ ctrlKey: true, metaKey: false, shiftKey: true })).toBe('range')
    expect(modeOf({ ctrlKey: false, metaKey: false, shiftKey: false })).toBe('single')
  })
})

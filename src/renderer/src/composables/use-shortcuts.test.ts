import { describe, expect, it, vi } from 'vitest'
import { dispatch, isClaimed, matches, parseCombination, showCombination } from './use-shortcuts'

const key = (init: KeyboardEventInit & { key: string }): KeyboardEvent =>
  new KeyboardEvent('keydown', { bubbles: true, cancelable: true, ...init })

describe('shortcuts', () => {
  it('matches exactly the modifiers asked for', () => {
    const wanted = parseCombination('Mod+N')
    expect(matches(key({ key: 'n', ctrlKey: true }), wanted, false)).toBe(true)
    expect(matches(key({ key: 'N', ctrlKey: true, shiftKey: true }), wanted, false)).toBe(false)
    expect(matches(key({ key: 'n' }), wanted, false)).toBe(false)
    expect(matches(key({ key: 'n', ctrlKey: true, altKey: true }), wanted, false)).toBe(false)
    expect(matches(key({ key: 'n', metaKey: true }), wanted, true)).toBe(true)
    expect(matches(key({ key: 'n', ctrlKey: true }), wanted, true)).toBe(false)
  })

  it('takes symbols whatever shift they need', () => {
    expect(matches(key({ key: '?', shiftKey: true }), parseCombination('?'), false)).toBe(true)
  })

  it('prints keys as on the keyboard', () => {
    expect(showCombination('Mod+Shift+N', false)).toEqual(['Ctrl', 'Shift', 'N'])
    expect(showCombination('Mod+N', true)).toEqual(['⌘', 'N'])
  })

  it('leaves every key in a console to the guest', () => {
    document.body.innerHTML = '<div class="xterm"><textarea id="t"></textarea></div><input id="i">'
    const console = document.getElementById('t')
    const field = document.getElementById('i')
    expect(isClaimed(console, parseCombination('Mod+N'))).toBe(true)
    expect(isClaimed(console, parseCombination('F2'))).toBe(true)
    expect(isClaimed(field, parseCombination('Delete'))).toBe(true)
    expect(isClaimed(field, parseCombination('Mod+N'))).toBe(false)
  })

  it('runs the first one that applies and stops the page from acting', () => {
    const off = { keys: ['Mod+P'], isEnabled: () => false, run: vi.fn() }
    const on = { keys: ['F5', 'Mod+P'], isEnabled: () => true, run: vi.fn() }
    const event = key({ key: 'p', ctrlKey: true })
    expect(dispatch(event, [off, on])).toBe(true)
    expect(off.run).not.toHaveBeenCalled()
    expect(on.run).toHaveBeenCalledOnce()
    expect(event.defaultPrevented).toBe(true)
    expect(dispatch(key({ key: 'p' }), [off, on])).toBe(false)
  })
})

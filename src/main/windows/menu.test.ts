import { describe, expect, it, vi } from 'vitest'

vi.mock('electron', () => ({ Menu: {} }))
const { menuTemplate, toInputEvent } = await import('./menu')
const { wordsFor } = await import('./words')

describe('menu', () => {
  it('replays the combination of the platform', () => {
    expect(toInputEvent('CmdOrCtrl+Shift+Delete', 'linux')).toEqual({ keyCode: 'Delete', modifiers: ['control', 'shift'] })
    expect(toInputEvent('CmdOrCtrl+N', 'darwin')).toEqual({ keyCode: 'N', modifiers: ['meta'] })
    expect(toInputEvent('F2', 'win32')).toEqual({ keyCode: 'F2', modifiers: [] })
  })

  it('sends a press and a release to the page, and nothing without a window', () => {
    const sendInputEvent = vi.fn()
    const options = { words: wordsFor('en'), platform: 'linux' as const, quit: vi.fn() }
    const click = (window: object | undefined): void => {
      const template = menuTemplate({ ...options, window: () => window as never })
      const items = template[0].submenu as { label: string; click: () => void }[]
      items[0].click()
    }
    click(undefined)
    expect(sendInputEvent).not.toHaveBeenCalled()
    click({ webContents: { sendInputEvent } })
    expect(sendInputEvent.mock.calls.map(([event]) => [event.type, event.keyCode])).toEqual([['keyDown', 'N'], ['keyUp', 'N']])
  })

  it('never takes a key from a console: no command registers its accelerator', () => {
    const template = menuTemplate({ words: wordsFor('fr-FR'), platform: 'linux', window: () => undefined, quit: vi.fn() })
    const items = template.flatMap((menu) => menu.submenu as { accelerator?: string; registerAccelerator?: boolean }[])
    expect(items.filter((item) => item.accelerator && item.registerAccelerator !== false)).toEqual([])
  })
})

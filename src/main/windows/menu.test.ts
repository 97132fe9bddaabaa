import { describe, expect, it, vi } from 'vitest'
import { APP_COMMANDS } from '../../preload/contract'

vi.mock('electron', () => ({ Menu: {} }))
const { menuTemplate } = await import('./menu')
const { wordsFor, wordsOf } = await import('./words')

describe('menu', () => {
  it('sends its command to the window, and nothing without one', () => {
    const send = vi.fn()
    const options = { words: wordsFor('en'), platform: 'linux' as const, quit: vi.fn() }
    const click = (window: object | undefined): void => {
      const template = menuTemplate({ ...options, window: () => window as never })
      const items = template[0].submenu as { label: string; click: () => void }[]
      items[0].click()
    }
    click(undefined)
    expect(send).not.toHaveBeenCalled()
    click({ webContents: { send } })
    expect(send.mock.calls).toEqual([['nestbox:event', 'app.command', { command: 'new' }]])
  })

  it('never takes a key from a console: no command registers its accelerator', () => {
    const template = menuTemplate({ words: wordsFor('fr-FR'), platform: 'linux', window: () => undefined, quit: vi.fn() })
    const items = template.flatMap((menu) => menu.submenu as { accelerator?: string; registerAccelerator?: boolean }[])
    expect(items.filter((item) => item.accelerator && item.registerAccelerator !== false)).toEqual([])
  })

  it('has every command but what the page alone can do', () => {
    const sent: string[] = []
    const window = { webContents: { send: (_channel: string, _event: string, { command }: { command: string }) => void sent.push(command) } }
    const template = menuTemplate({ words: wordsFor('en'), platform: 'linux', window: () => window as never, quit: vi.fn() })
    for (const item of template.flatMap((menu) => menu.submenu as { click?: () => void }[])) item.click?.()
    expect(APP_COMMANDS.filter((command) => !sent.includes(command))).toEqual(['selectAll'])
  })

  it('is in the language of the window, Electron’s own items too', () => {
    const labels = (words: ReturnType<typeof wordsOf>): (string | undefined)[] => menuTemplate({ words, platform: 'linux', window: () => undefined, quit: vi.fn() })
      .flatMap((menu) => (menu.submenu as { type?: string; label?: string }[]).filter(({ type }) => type !== 'separator').map(({ label }) => label))
    const [english, french] = [labels(wordsOf('system', 'en-GB')), labels(wordsOf('fr', 'en-GB'))]
    expect(english).not.toContain(undefined)
    // “Console” is both.
    expect(english.filter((label, index) => label === french[index])).toEqual(['Console'])
  })
})

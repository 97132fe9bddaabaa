import { describe, expect, it } from 'vitest'
import { screenText } from './screen'

const screen = (text: string): string => screenText(new TextEncoder().encode(text))

describe('the text of a screen', () => {
  it('drops colours, titles and cursor reports, keeps the words', () => {
    expect(screen('\u001b]0;title\u0007\u001b[1;32mroot\u001b[0m:~# \u001b[6nls\r\n\u001b(Bbin  etc\r\n')).toBe('root:~# ls\nbin  etc')
  })

  it('overwrites as a terminal does', () => {
    expect(screen('loading 10%\rloading 99%\r\nabd\bc\r\na\tb')).toBe('loading 99%\nabc\na       b')
  })

  it('forgets what was cleared, unless nothing came after', () => {
    expect(screen('before\r\n\u001b[H\u001b[2Jafter')).toBe('after')
    expect(screen('before\u001b[2J')).toBe('before')
    // busybox clears behind its prompt
    expect(screen('boot\r\n~ # \u001b[J')).toBe('boot\n~ #')
  })

  it('keeps the last 25 lines, cut at 100 columns', () => {
    const lines = screen(Array.from({ length: 2_000 }, (_, i) => `line ${i} ${'x'.repeat(200)}`).join('\r\n')).split('\n')
    expect(lines).toHaveLength(25)
    expect(lines.at(-1)).toHaveLength(100)
    expect(lines.at(-1)).toMatch(/^line 1999 x/)
  })

  it('is empty where nothing was said, and takes any bytes', () => {
    expect(screen('')).toBe('')
    expect(screen('\r\n\r\n')).toBe('')
    expect(screenText(Uint8Array.from({ length: 256 }, (_, i) => i))).toContain('ABC')
  })
})

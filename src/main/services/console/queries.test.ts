import { describe, expect, it } from 'vitest'
import { withoutQueries } from './queries'

const replay = (text: string): string => new TextDecoder().decode(withoutQueries(new TextEncoder().encode(text)))

describe('what a console said, without the questions to its terminal', () => {
  it.each([
    ['position of the cursor, as busybox asks at each prompt', '/ # \u001b[6n', '/ # '],
    ['status, and the private form', 'a\u001b[5n\u001b[?6nb', 'ab'],
    ['what it is', 'a\u001b[c\u001b[0c\u001b[>c\u001b[=c\u001bZb', 'ab'],
    ['modes and settings', 'a\u001b[?2026$p\u001b[4$p\u001bP$qm\u001b\\\u001bP+q544e\u001b\\b', 'ab'],
    ['colours', 'a\u001b]11;?\u0007\u001b]4;1;?\u001b\\b', 'ab'],
    ['the window, the version, the keyboard', 'a\u001b[18t\u001b[>0q\u001b[?u\u0005b', 'ab'],
  ])('%s', (_what, said, wanted) => expect(replay(said)).toBe(wanted))

  it('keeps everything else', () => {
    const said = 'é \u001b[31mred\u001b[0m\u001b[2J\u001b[6;1H\u001b]0;title\u0007\u001b]11;#fff\u0007\u001b[?25l\u001b[22;0t\u001b[4 q\u001b[5m'
    expect(replay(said)).toBe(said)
  })

  it('keeps bytes that are no UTF-8', () => {
    expect([...withoutQueries(Uint8Array.of(0xff, 0xc3, 0x1b, 0x5b, 0x36, 0x6e, 0x80))]).toEqual([0xff, 0xc3, 0x80])
  })
})

import { describe, expect, it } from 'vitest'
import { isAnswer, QuerySplitter, withoutQueries } from './queries'

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

describe('what is said to several terminals', () => {
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
  const text = (parts: readonly Uint8Array[]): string => Buffer.concat(parts).toString('latin1')
  const SAID = 'a\u001b[6nb\u001b[31mc\u001bP$qm\u001b\\d\u001b]11;?\u0007e\u001b]0;title\u0007f\u001b[?2026$pg'
  const QUIET = 'ab\u001b[31mcde\u001b]0;title\u0007fg'

  it('comes without questions to all but one, wherever it is cut', () => {
    for (let cut = 0; cut <= SAID.length; cut++) {
      const splitter = new QuerySplitter()
      const parts = [splitter.split(bytes(SAID.slice(0, cut))), splitter.split(bytes(SAID.slice(cut)))]
      expect(splitter.isKeeping).toBe(false)
      expect(text(parts.map(({ whole }) => whole)), `cut at ${cut}`).toBe(SAID)
      expect(text(parts.map(({ quiet }) => quiet)), `cut at ${cut}`).toBe(QUIET)
    }
  })

  it('comes byte by byte too', () => {
    const splitter = new QuerySplitter()
    const parts = [...SAID].map((byte) => splitter.split(bytes(byte)))
    expect([text(parts.map(({ whole }) => whole)), text(parts.map(({ quiet }) => quiet))]).toEqual([SAID, QUIET])
  })

  it('is never kept back for long', () => {
    const splitter = new QuerySplitter()
    const endless = `\u001bP$q${'x'.repeat(300)}`
    expect(text([splitter.split(bytes(endless)).quiet])).toBe(endless)
    expect(text([splitter.split(bytes('\u001b[')).quiet])).toBe('')
    expect(splitter.isKeeping).toBe(true)
    expect(text([splitter.split(bytes('31mred')).quiet])).toBe('\u001b[31mred')
  })
})

describe('what comes from a terminal', () => {
  it.each(['\u001b[12;40R', '\u001b[?1;2c', '\u001b[>0;276;0c', '\u001b[0n', '\u001b[?2026;2$y', '\u001b[8;24;80t', '\u001b]11;rgb:0000/0000/0000\u0007', '\u001bP1$r0m\u001b\\', '\u001b[O'])('by itself: %j', (said) => {
    expect(isAnswer(said)).toBe(true)
  })
  it.each(['ls', '\r', '\u001b', '\u001b[A', '\u001bOP', '\u001b[3~', '\u001b[200~pasted', '\u001bx', '\u0003'])('from a person: %j', (said) => {
    expect(isAnswer(said)).toBe(false)
  })
})

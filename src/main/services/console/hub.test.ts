import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ConsoleHub, type ConsoleAttachment } from './index'

const ASKS = 'prompt \u001b[6n'

interface Terminal extends ConsoleAttachment {
  /** What it was told since the last look. */
  told(): string
}

let folder: string
let hub: ConsoleHub

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestbox-hub-'))
  hub = new ConsoleHub(() => folder, (_id, reason) => {
    throw new Error(reason)
  })
})
afterEach(() => {
  hub.release('m')
  rmSync(folder, { recursive: true })
})

function open(answers?: boolean): Terminal {
  let text = ''
  const attachment = hub.attach('m', 'ttyS0', (bytes) => (text += Buffer.from(bytes).toString('latin1')), answers)
  return {
    ...attachment,
    told() {
      const said = text
      text = ''
      return said
    },
  }
}

const say = (text: string): void => hub.output('m', 'ttyS0', Buffer.from(text, 'latin1'))
const asked = (...terminals: Terminal[]): boolean[] => {
  say(ASKS)
  return terminals.map((terminal) => terminal.told().endsWith(ASKS))
}

describe('of several terminals on one console', () => {
  it('the one that came last is asked, all are told the rest', () => {
    const first = open()
    expect(asked(first)).toEqual([true])
    const second = open()
    second.told()
    say(`a${ASKS}b`)
    expect([first.told(), second.told()]).toEqual(['aprompt b', `a${ASKS}b`])
  })

  it('the one a person came to last is asked, and the one before once that is closed', () => {
    const [first, second, third] = [open(), open(), open()]
    expect(asked(first, second, third)).toEqual([false, false, true])
    first.claim()
    expect(asked(first, second, third)).toEqual([true, false, false])
    second.claim()
    second.detach()
    expect(asked(first, second, third)).toEqual([true, false, false])
    first.detach()
    expect(asked(first, second, third)).toEqual([false, false, true])
    // One that is gone is no terminal any more.
    first.claim()
    expect(asked(first, second, third)).toEqual([false, false, true])
  })

  it('exactly one is asked where the person goes to another in the middle of a question', () => {
    const [first, second] = [open(), open()]
    say('prompt \u001b[')
    first.claim()
    say('6n')
    expect([first.told(), second.told()]).toEqual([ASKS, 'prompt '])
    say('prompt \u001b[')
    second.detach()
    say('6n')
    expect(first.told()).toBe(ASKS)
  })

  it('what is no terminal is never asked', () => {
    const [terminal, pipe] = [open(), open(false)]
    pipe.claim()
    expect(asked(terminal, pipe)).toEqual([true, false])
    terminal.detach()
    expect(asked(terminal, pipe)).toEqual([false, false])
  })
})

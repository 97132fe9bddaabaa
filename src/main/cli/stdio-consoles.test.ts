import { describe, expect, it } from 'vitest'
import { StdioConsoles } from './stdio-consoles'

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))

function open(isTerminal: boolean, front: 'ttyS0' | 'hvc0' = 'ttyS0') {
  const said: string[] = []
  const heard = { ttyS0: '', hvc0: '' }
  let quits = 0
  const consoles = new StdioConsoles(front, { isTerminal, write: (text) => said.push(Buffer.from(text).toString()), note: (text) => said.push(`[${text}]`) }, () => quits++)
  for (const name of ['ttyS0', 'hvc0'] as const) {
    consoles[name].onInput((text) => {
      heard[name] += Buffer.from(text).toString('latin1')
    })
  }
  return { consoles, said, heard, quits: () => quits }
}

describe('two consoles on one terminal', () => {
  it('pass on what the one in front says and what is typed', () => {
    const { consoles, said, heard } = open(true)
    consoles.ttyS0.write(bytes('login: '))
    consoles.hvc0.write(bytes('behind'))
    consoles.typed(bytes('root\r'))
    expect(said).toEqual(['login: '])
    expect(heard).toEqual({ ttyS0: 'root\r', hvc0: '' })
  })

  it('change with Ctrl-A C, showing what was said meanwhile, once', () => {
    const { consoles, said, heard } = open(true)
    const buffer = bytes('hello from hvc0')
    consoles.hvc0.write(buffer)
    buffer.fill(0)
    consoles.typed(bytes('a\x01cb'))
    expect(said).toEqual(['[console hvc0]', 'hello from hvc0'])
    expect(heard).toEqual({ ttyS0: 'a', hvc0: 'b' })
    consoles.typed(bytes('\x01C\x01c'))
    expect(said.slice(2)).toEqual(['[console ttyS0]', '[console hvc0]'])
  })

  it('keep only the end of what the one behind says', () => {
    const { consoles, said } = open(true)
    for (let i = 0; i < 300; i++) consoles.hvc0.write(bytes(`${i} `.padEnd(1024, '.')))
    consoles.typed(bytes('\x01c'))
    const text = said.join('')
    expect(text.length).toBeLessThan(66 * 1024)
    expect(text).toContain('299 ')
    expect(text).not.toContain('100 ')
  })

  it('quit with Ctrl-A X and send Ctrl-A, but take nothing out of a pipe', () => {
    const terminal = open(true)
    terminal.consoles.typed(bytes('\x01\x01'))
    expect(terminal.heard.ttyS0).toBe('\x01')
    terminal.consoles.typed(bytes('\x01'))
    terminal.consoles.typed(bytes('X'))
    expect(terminal.quits()).toBe(1)
    const pipe = open(false, 'hvc0')
    pipe.consoles.typed(bytes('\x01c\x01x'))
    expect(pipe.heard).toEqual({ ttyS0: '', hvc0: '\x01c\x01x' })
    expect(pipe.quits()).toBe(0)
  })
})

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { bashCompletion } from './completion'
import { buildProgram } from './program'

const program = await buildProgram()
const DOCS = readFileSync(join(import.meta.dirname, '../../../docs/cli.md'), 'utf8')

interface Verb { readonly path: string; readonly command: Command }

const verbsOf = (command: Command, path = ''): Verb[] => command.commands.flatMap((child) => {
  const here = `${path} ${child.name()}`.trim()
  return child.commands.length > 0 && child.name() !== 'manager' ? verbsOf(child, here) : [{ path: here, command: child }, ...verbsOf(child, here)]
})
const verbs = verbsOf(program)

/** The verbs of issues 2 and 4. */
const PROMISED = [
  'run', 'serve', 'image list', 'image prepare',
  ...['list', 'create', 'start', 'stop', 'pause', 'resume', 'reset', 'info', 'set', 'delete', 'restore', 'console', 'clone', 'fork', 'suspend', 'export', 'import'].map((verb) => `vm ${verb}`),
  ...['create', 'convert', 'info', 'check', 'resize', 'compact'].map((verb) => `disk ${verb}`),
  ...['take', 'list', 'restore', 'delete', 'rename'].map((verb) => `snapshot ${verb}`),
  ...['create', 'list', 'delete'].map((verb) => `template ${verb}`),
]

describe('the nestbox command', () => {
  it('has every verb that was promised', () => {
    expect(verbs.map(({ path }) => path)).toEqual(expect.arrayContaining(PROMISED))
  })

  it.each(verbs)('$path says what it does, and the manual has it with its options', ({ path, command }) => {
    expect(command.description()).not.toBe('')
    for (const { long, description } of command.options) expect(description, long ?? '').not.toBe('')
    expect(DOCS).toMatch(new RegExp(`(\`|nestbox )${path}\\b`))
    const missing = command.options.filter(({ long }) => long && long !== '--json' && !new RegExp(`${long}(?![\\w-])`).test(DOCS)).map(({ long }) => long)
    expect(missing).toEqual([])
  })

  it('points to the help of the command that was used wrong', async () => {
    const told: string[] = []
    const listening = await buildProgram()
    const listen = (command: Command): void => {
      command.configureOutput({ writeErr: (text) => void told.push(text), outputError: (text, write) => write(text) })
      command.commands.forEach(listen)
    }
    listen(listening)
    expect(() => listening.parse(['node', 'nestbox', 'snapshot', 'restore', 'vm'])).toThrow()
    expect(told.join('')).toContain("'nestbox snapshot restore --help' shows how it is used.")
  })

  it('prints JSON wherever it prints results', () => {
    const without = verbs.filter(({ command }) => !command.options.some(({ long }) => long === '--json')).map(({ path }) => path)
    // These run until they are ended, or print a script.
    expect(without.filter((path) => !['serve', 'manager', 'completion'].includes(path))).toEqual([])
  })
})

/** What bash offers after these words. */
function offered(...words: string[]): string[] {
  const script = `${bashCompletion(program)}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})\nCOMP_CWORD=${words.length - 1}\n_nestbox nestbox '${words.at(-1)}'\nprintf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['--norc', '-c', script], { encoding: 'utf8', cwd: import.meta.dirname }).trim().split('\n')
}

describe('completion', () => {
  it('offers groups, verbs and options', () => {
    expect(offered('nestbox', '')).toEqual(expect.arrayContaining(['run', 'vm', 'disk', 'snapshot', 'template', 'image', 'serve', 'completion']))
    expect(offered('nestbox', 'vm', 'res')).toEqual(['resume', 'reset', 'restore'])
    expect(offered('nestbox', 'vm', 'start', 'My machine', '--f')).toEqual(['--fresh'])
    expect(offered('nestbox', 'snapshot', 'take', '--no')).toEqual(['--notes'])
  })

  it('offers files where nothing else fits', () => {
    expect(offered('nestbox', 'vm', 'import', 'program.te')).toEqual(['program.test.ts'])
  })
})

/** The documents say what is there: paths, commands, and a line for every folder. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { buildProgram } from '../src/main/cli/program'

const ROOT = join(import.meta.dirname, '..')
/** Documents of a part leave out where the part is. */
const STARTS = ['', 'src', 'src/main', 'src/main/vmm', 'src/main/vmm/cpu']
const CODE = ['src', 'tests', 'scripts'] as const

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const under = (folder: string): string[] => readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length + 1))

const files = CODE.flatMap(under)
const names = new Set(files.map((path) => basename(path)))
const documents = ['README.md', 'ARCHITECTURE.md', ...under('docs').filter((path) => path.endsWith('.md')), ...files.filter((path) => path.endsWith('README.md'))]
const tour = [...read('docs/grand-tour.md').matchAll(/^\| `([^`]+)` \|/gm)].map(([, path]) => path)

const exists = (path: string, from: string): boolean => [...STARTS, dirname(from)].some((start) => ['', '.ts'].some((end) => existsSync(join(ROOT, start, path + end)))) ||
  files.some((file) => file.endsWith(`/${path}`))

/** What stands between backticks, outside blocks of code, and names a file or folder of this repository. */
function pathsIn(text: string): string[] {
  const spans = [...text.replaceAll(/^\s*```.*?^\s*```/gms, '').matchAll(/`([^`\n]+)`/g)].map(([, span]) => span)
  return spans.filter((span) => /^(?:src|docs|tests|scripts|resources\/\w+\.|\.ci|[a-z0-9-]+\/)[\w./-]*$/.test(span) && /\.(?:ts|mjs|md|vue|asm|c)$|^(?:src|docs|tests|scripts|\.ci)\//.test(span) && !/^out\//.test(span))
}

const wordsOfCode = (text: string): string[][] => [...text.matchAll(/^\s*```(?:sh|ts)?\n(.*?)^\s*```/gms)].flatMap(([, block]) => block.split('\n').map((line) => line.trim().split(/\s+/)))

const program = await buildProgram()

function isCommand(verbs: readonly string[]): boolean {
  let command = program
  for (const verb of verbs) {
    const next = command.commands.find((one) => one.name() === verb)
    // What follows a verb is a name.
    if (!next) return command.commands.length === 0
    command = next
  }
  return true
}

describe.each(documents)('%s', (document) => {
  const text = read(document)

  it('names files and folders that exist', () => {
    expect(pathsIn(text).filter((path) => !exists(path, document))).toEqual([])
    const alone = [...text.matchAll(/`([\w-]+\.(?:ts|mjs|vue|asm))`/g)].map(([, name]) => name)
    expect(alone.filter((name) => !names.has(name))).toEqual([])
  })

  it('links to documents that exist', () => {
    const links = [...text.matchAll(/\]\(([^)#:\s]+)\)/g)].map(([, link]) => link)
    expect(links.filter((link) => !existsSync(join(ROOT, dirname(document), link)))).toEqual([])
  })

  it('shows commands that exist', () => {
    const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts)
    const projects = [...read('vitest.config.ts').matchAll(/(?:node\(|name: )'(\w+)'/g)].map(([, name]) => name)
    for (const words of wordsOfCode(text)) {
      const after = (...before: string[]): string | undefined => {
        const at = words.findIndex((_word, i) => before.every((word, k) => words[i + k] === word))
        return at < 0 ? undefined : words[at + before.length]
      }
      const script = after('npm', 'run')
      if (script !== undefined) expect(scripts).toContain(script)
      const project = after('--project')
      if (project !== undefined) expect(projects).toContain(project)
      const nestbox = words.indexOf('nestbox')
      if (nestbox === 0 || words[nestbox - 1] === 'npx') expect(isCommand(words.slice(nestbox + 1, nestbox + 3).filter((word) => /^[a-z]+$/.test(word))), words.join(' ')).toBe(true)
      expect(words.filter((word) => /^(?:src|tests|scripts)\/[\w./-]+$/.test(word) && !existsSync(join(ROOT, word)))).toEqual([])
    }
  })
})

describe('the grand tour', () => {
  it('has a line for every folder with code, once', () => {
    const folders = [...new Set(files.filter((path) => /\.(?:ts|mjs|vue|asm|css|c)$/.test(path)).map((path) => `${dirname(path)}/`))]
    const inTour = new Set(tour)
    const missing = folders.filter((folder) => !inTour.has(folder) && !tour.some((path) => path.startsWith(folder) && !path.endsWith('/')))
    expect(missing).toEqual([])
    expect(tour.filter((path, i) => tour.indexOf(path) !== i)).toEqual([])
  })

  it('leads only to what is there', () => {
    expect(tour.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })
})

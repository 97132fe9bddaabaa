import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { codePathOf, programId } from './cached-program'

let dir: string
let program: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-program-'))
  program = join(dir, 'program.cjs')
  const contents = `import { runProgram } from ${JSON.stringify(fileURLToPath(new URL('cached-program.ts', import.meta.url)))}
    runProgram(${JSON.stringify(program)}, process.argv[2] === 'keep')`
  buildSync({ stdin: { contents, resolveDir: dir, loader: 'ts' }, outfile: join(dir, 'launch.cjs'), bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** @param code of a function that the program calls to say something */
function write(code: string): string {
  const text = `const { basename } = require('node:path')\nfunction say() { ${code} }\nconsole.log(say(), basename(__filename), module.exports === exports)`
  const id = createHash('sha256').update(text).digest('hex')
  writeFileSync(program, `${text}\n// build ${id}\n`)
  return id
}

const run = (...args: string[]): string => execFileSync(process.execPath, [join(dir, 'launch.cjs'), ...args], { encoding: 'utf8' }).trim()

it('runs a program with and without the code kept for it', () => {
  const id = write("return 'one'")
  expect(programId(program)).toBe(id)
  expect(run()).toBe('one program.cjs true')
  expect(existsSync(codePathOf(program))).toBe(false)
  expect(run('keep')).toBe('one program.cjs true')
  expect(readFileSync(codePathOf(program)).toString('latin1', 0, id.length)).toBe(id)
  expect(run()).toBe('one program.cjs true')
})

it('does not use code of another build, nor what is damaged', () => {
  write("return 'one'")
  run('keep')
  // As long as the other, which is all that the engine compares.
  write("return 'two'")
  expect(run()).toBe('two program.cjs true')
  run('keep')
  const code = readFileSync(codePathOf(program))
  for (const damaged of [code.subarray(0, 70), code.subarray(0, 10), Buffer.concat([code.subarray(0, 64), Buffer.alloc(500, 7)])]) {
    writeFileSync(codePathOf(program), damaged)
    expect(run()).toBe('two program.cjs true')
  }
})

it('runs a program that nobody named', () => {
  writeFileSync(program, "console.log('plain')")
  expect(programId(program)).toBe(createHash('sha256').update("console.log('plain')").digest('hex'))
  expect(run('keep')).toBe('plain')
})

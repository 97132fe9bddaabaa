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
    const used = runProgram(${JSON.stringify(program)}, { keep: process.argv[2] === 'keep', use: process.argv[3] })
    console.log(used ? 'kept' : 'compiled')`
  bundle(contents, join(dir, 'launch.cjs'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function bundle(contents: string, outfile: string): void {
  buildSync({ stdin: { contents, resolveDir: dir, loader: 'ts' }, outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
}

function name(text: string): string {
  const id = createHash('sha256').update(text).digest('hex')
  writeFileSync(program, `${text}\n// build ${id}\n`)
  return id
}

/** @param code of a function that the program calls to say something */
function write(code: string): string {
  return name(`const { basename } = require('node:path')\nfunction say() { ${code} }\nconsole.log(say(), basename(__filename), module.exports === exports)`)
}

const run = (...args: string[]): string => execFileSync(process.execPath, [join(dir, 'launch.cjs'), ...args], { encoding: 'utf8' }).trim().replaceAll('\n', ' ')

it('runs a program with and without the code kept for it', () => {
  const id = write("return 'one'")
  expect(programId(program)).toBe(id)
  expect(run()).toBe('one program.cjs true compiled')
  expect(existsSync(codePathOf(program))).toBe(false)
  expect(run('keep')).toBe('one program.cjs true compiled')
  expect(readFileSync(codePathOf(program)).toString('latin1', 0, id.length)).toBe(id)
  expect(run()).toBe('one program.cjs true kept')
})

it('keeps the code of each use by itself', () => {
  write("return 'one'")
  expect(run('keep', 'first')).toBe('one program.cjs true compiled')
  expect(run('use', 'second')).toBe('one program.cjs true compiled')
  expect(run('use', 'first')).toBe('one program.cjs true kept')
})

it('does not use code of another build, nor what is damaged', () => {
  write("return 'one'")
  run('keep')
  // As long as the other, which is all that the engine compares.
  write("return 'two'")
  expect(run()).toBe('two program.cjs true compiled')
  run('keep')
  const code = readFileSync(codePathOf(program))
  for (const damaged of [code.subarray(0, 70), code.subarray(0, 10), Buffer.concat([code.subarray(0, 64), Buffer.alloc(500, 7)])]) {
    writeFileSync(codePathOf(program), damaged)
    expect(run()).toBe('two program.cjs true compiled')
  }
})

it('runs a program that nobody named', () => {
  writeFileSync(program, "console.log('plain')")
  expect(programId(program)).toBe(createHash('sha256').update("console.log('plain')").digest('hex'))
  expect(run('keep')).toBe('plain compiled')
})

it('uses what was kept by a program that set the engine\'s flags for wasm', () => {
  const source = join(dir, 'machine.cjs')
  bundle(`import { compileWhole } from ${JSON.stringify(fileURLToPath(new URL('machine-code.ts', import.meta.url)))}
    compileWhole(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]))`, source)
  name(readFileSync(source, 'utf8'))
  expect(run('keep')).toBe('compiled')
  expect(run()).toBe('kept')
})

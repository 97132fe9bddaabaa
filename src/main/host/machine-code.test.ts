import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { compileWhole, machineCodeOf, moduleFrom } from './machine-code'

/** (func (export "f") (param i32) (result i32) local.get 0; i32.const 3; i32.add) */
const WASM = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0, 7, 5, 1, 1, 0x66, 0, 0, 10, 9, 1, 7, 0, 0x20, 0, 0x41, 3, 0x6a, 0x0b])
/** What the engine writes first: its mark, version and flags. */
const HEADER_BYTES = 16

let dir: string
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'nestbox-code-'))))
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const call = (module: object | undefined): unknown => (new WebAssembly.Instance(module as WebAssembly.Module).exports.f as (n: number) => number)(4)

it('is taken back, and refused where it is of another engine', () => {
  const code = machineCodeOf(compileWhole(WASM))
  expect(call(moduleFrom(WASM, code))).toBe(7)
  for (let at = 0; at < HEADER_BYTES; at++) {
    const other = code.slice()
    other[at] ^= 0x10
    expect(moduleFrom(WASM, other), `byte ${at}`).toBeUndefined()
  }
  expect(moduleFrom(WASM, code.subarray(0, HEADER_BYTES - 1))).toBeUndefined()
})

it('is of use in another process, and flags are what they were', () => {
  const contents = `import { readFileSync, writeFileSync } from 'node:fs'
    import { compileWhole, machineCodeOf, moduleFrom } from ${JSON.stringify(fileURLToPath(new URL('machine-code.ts', import.meta.url)))}
    const [, , what, wasm, code] = process.argv
    if (what === 'write') writeFileSync(code, machineCodeOf(compileWhole(readFileSync(wasm))))
    const module = moduleFrom(new Uint8Array(readFileSync(wasm)), readFileSync(code))
    let natives = true
    try { Function('return %GetHeapUsage()') } catch { natives = false }
    console.log(new WebAssembly.Instance(module).exports.f(4), natives)`
  buildSync({ stdin: { contents, resolveDir: dir, loader: 'ts' }, outfile: join(dir, 'run.cjs'), bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
  writeFileSync(join(dir, 'm.wasm'), WASM)
  const run = (what: string): string => execFileSync(process.execPath, [join(dir, 'run.cjs'), what, join(dir, 'm.wasm'), join(dir, 'm.code')], { encoding: 'utf8' }).trim()
  expect(run('write')).toBe('7 false')
  expect(run('read')).toBe('7 false')
})

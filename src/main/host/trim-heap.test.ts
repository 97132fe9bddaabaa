import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { objectThatCalls } from './init-object'
import { TRIM_OBJECT, trimHeap, writeTrimObject } from './trim-heap'

const MIB = 1 << 20
const COUNT = 20_000
const SIZE = 8000

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nestbox-trim-'))
  path = join(folder, TRIM_OBJECT)
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Bytes resident before and after, where every fortieth of many pieces is still in use. */
const HOLES = `
  let pieces = Array.from({ length: ${COUNT} }, () => Buffer.allocUnsafeSlow(${SIZE}).fill(1))
  const inUse = pieces.filter((_, i) => i % 40 === 0)
  pieces = []
  setTimeout(gc, 10)
  setTimeout(() => {
    const before = process.memoryUsage.rss()
    try { process.dlopen({ exports: {} }, process.argv[1]) } catch {}
    try { process.dlopen({ exports: {} }, process.argv[1]) } catch {}
    console.log(JSON.stringify([before, process.memoryUsage.rss(), inUse.every((piece) => piece[0] === 1 && piece[${SIZE - 1}] === 1)]))
  }, 300)`

describe.runIf(process.platform === 'linux')('on Linux', () => {
  it('holes below what is in use are given back, and what is in use stays', () => {
    expect(writeTrimObject(path)).toBe(true)
    const said = execFileSync(process.execPath, ['--expose-gc', '-e', HOLES, path], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
    const [before, after, isWhole] = JSON.parse(said) as [number, number, boolean]
    expect(isWhole).toBe(true)
    expect(before - after).toBeGreaterThan(COUNT * SIZE / 2)
    expect(after).toBeGreaterThan(10 * MIB)
  })

  it('may be called again and again', () => {
    writeTrimObject(path)
    expect([trimHeap(path), trimHeap(path), trimHeap(path)]).toEqual([true, true, true])
  })

  it('says no where the C library has no such function', () => {
    writeFileSync(path, objectThatCalls('no_such_function_of_nestbox') as Uint8Array)
    expect(trimHeap(path)).toBe(false)
  })

  it('is what the binutils take for a shared object that has the function called', () => {
    writeTrimObject(path)
    const said = execFileSync('readelf', ['-hldW', path], { encoding: 'utf8' })
    expect(said).toContain('DYN (Shared object file)')
    expect(said).toMatch(/GNU_STACK .* RW /)
    expect(said).toMatch(/\(INIT_ARRAYSZ\)\s+8 \(bytes\)/)
    const relocations = execFileSync('readelf', ['-rDW', path], { encoding: 'utf8' })
    expect(relocations).toMatch(/R_(X86_64_64|AARCH64_ABS64)\s.*malloc_trim \+ 0/)
  })
})

it('says no where there is no such file, and for an architecture that is not known', () => {
  expect(trimHeap(join(folder, 'none'))).toBe(false)
  expect(objectThatCalls('malloc_trim', 'mips')).toBeUndefined()
})

it('has the machine number and relocation of each architecture', () => {
  const of = (architecture: string): number => new DataView((objectThatCalls('f', architecture) as Uint8Array).buffer).getUint16(18, true)
  expect([of('x64'), of('arm64')]).toEqual([62, 183])
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { KernelFiles } from './kernel-files'

let dir: string
const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}

beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'nestbox-kernel-'))))
afterEach(() => rmSync(dir, { recursive: true, force: true }))

it('gives what it read first once, then what is in the files at each reading', () => {
  const kernel = file('vmlinuz', 'one')
  const files = new KernelFiles({ kernel, initrd: file('initrd', 'disk'), commandLine: 'quiet' })
  const texts = (): unknown[] => {
    const { image, initrd } = files.read()
    return [image, initrd].map((bytes) => Buffer.from(bytes ?? []).toString())
  }
  writeFileSync(kernel, 'two')
  // The machine boots what its hash is of.
  expect(texts()).toEqual(['one', 'disk'])
  expect(files.kernelHash).toBe('7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed')
  expect(texts()).toEqual(['two', 'disk'])
  writeFileSync(kernel, 'three')
  expect(texts()).toEqual(['three', 'disk'])
  expect(files.read().commandLine).toBe('quiet')
})

it('reads again what was released unread', () => {
  const kernel = file('vmlinuz', 'one')
  const files = new KernelFiles({ kernel, initrd: undefined, commandLine: '' })
  writeFileSync(kernel, 'two')
  files.release()
  expect(Buffer.from(files.read().image).toString()).toBe('two')
})

it('takes an empty path for no initial RAM disk', () => {
  expect(new KernelFiles({ kernel: file('vmlinuz', 'one'), initrd: '', commandLine: '' }).read()).not.toHaveProperty('initrd')
})

it('names the file that cannot be read, at once and at a later reset', () => {
  const kernel = file('vmlinuz', 'one')
  const initrd = join(dir, 'missing')
  expect(() => new KernelFiles({ kernel, initrd, commandLine: '' })).toThrow(`cannot read the initial RAM disk ${initrd}`)
  const files = new KernelFiles({ kernel, initrd: undefined, commandLine: '' })
  files.read()
  rmSync(kernel)
  expect(() => files.read()).toThrow(`cannot read the kernel ${kernel}`)
})

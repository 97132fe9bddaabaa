import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { writeBeside } from './beside'

const NOBODY = 99_999_999
let dir: string
const at = (name: string): string => join(dir, name)
const make = (part: string): Promise<void> => Promise.resolve(writeFileSync(part, 'new', { flag: 'wx' }))

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-beside-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

it('puts a file in the place of another only where it is told to', async () => {
  writeFileSync(at('disk'), 'old')
  await expect(writeBeside(at('disk'), { purpose: 'writing', replace: false }, make)).rejects.toMatchObject({ code: 'EEXIST' })
  expect(readFileSync(at('disk'), 'utf8')).toBe('old')
  await writeBeside(at('disk'), { purpose: 'writing', replace: true }, make)
  expect(readFileSync(at('disk'), 'utf8')).toBe('new')
  expect(readdirSync(dir)).toEqual(['disk'])
})

it('leaves a file alone that came while it wrote', async () => {
  const slow = async (part: string): Promise<void> => {
    await make(part)
    writeFileSync(at('disk'), 'theirs')
  }
  await expect(writeBeside(at('disk'), { purpose: 'writing', replace: false }, slow)).rejects.toMatchObject({ code: 'EEXIST' })
  expect(readFileSync(at('disk'), 'utf8')).toBe('theirs')
  expect(readdirSync(dir)).toEqual(['disk'])
})

it('writes the same file twice at a time, and one of them gets the name', async () => {
  const both = await Promise.allSettled([1, 2].map(() => writeBeside(at('disk'), { purpose: 'writing', replace: false }, make)))
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  expect(readdirSync(dir)).toEqual(['disk'])
})

it('removes what killed processes left for the same purpose, and nothing else', async () => {
  const kept = [`disk.${process.ppid}-1.writing`, `disk.${NOBODY}-1.compacting`, `disk.${NOBODY}.writing`, `other.${NOBODY}-1.writing`]
  for (const name of [`disk.${NOBODY}-1.writing`, ...kept]) writeFileSync(at(name), '')
  await writeBeside(at('disk'), { purpose: 'writing', replace: false }, make)
  expect(readdirSync(dir).sort()).toEqual(['disk', ...kept].sort())
})

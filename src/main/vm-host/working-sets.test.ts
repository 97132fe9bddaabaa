import { randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MOST_PAGES, WorkingSets } from './working-sets'

const ID = '6ddb10dc-a5eb-46b8-a697-62377cf0a4e7'
const PAGES = 24576
let dir: string
let sets: WorkingSets
const file = (): string => join(dir, 'sets', `${ID}.pages`)

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-working-sets-'))
  sets = new WorkingSets(join(dir, 'sets'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

it('are kept in their order, by state', () => {
  expect(sets.load(ID, PAGES)).toEqual([])
  sets.save(ID, PAGES, [7, 3, 24575])
  sets.save(randomUUID(), PAGES, [1])
  expect(sets.load(ID, PAGES)).toEqual([7, 3, 24575])
  sets.save(ID, PAGES, [])
  expect(sets.load(ID, PAGES)).toEqual([])
})

it('with any byte damaged, cut off, or of another memory are none, and go', () => {
  sets.save(ID, PAGES, [7, 3, 24575])
  const sound = readFileSync(file())
  const refused = (bytes: Uint8Array, pages = PAGES): void => {
    writeFileSync(file(), bytes)
    expect(sets.load(ID, pages)).toEqual([])
    expect(existsSync(file())).toBe(false)
  }
  for (let at = 0; at < sound.length; at++) {
    refused(Buffer.from(sound.map((byte, i) => (i === at ? byte ^ 0x10 : byte))))
    refused(sound.subarray(0, at))
  }
  refused(sound, PAGES / 2)
  refused(Buffer.alloc(5 << 20))
  // The right checksum makes another state's list no better.
  sets.save(ID, PAGES, [7])
  const other = randomUUID()
  writeFileSync(join(dir, 'sets', `${other}.pages`), readFileSync(file()))
  expect(sets.load(other, PAGES)).toEqual([])
})

it('do not grow without limit', () => {
  const many = Array.from({ length: MOST_PAGES + 5 }, (_, i) => i)
  for (let i = 0; i < 140; i++) sets.save(randomUUID(), PAGES, many)
  const names = readdirSync(join(dir, 'sets'))
  expect(names.length).toBeLessThan(130)
  expect(sets.load(names[0].slice(0, -6), PAGES)).toHaveLength(MOST_PAGES)
  expect(names.filter((name) => name.endsWith('.part'))).toEqual([])
})

it('that cannot be written say so and leave what was there', () => {
  sets.save(ID, PAGES, [1])
  const blocked = new WorkingSets(join(file(), 'below-a-file'))
  expect(() => blocked.save(ID, PAGES, [2])).toThrow(/ENOTDIR/)
  expect(blocked.load(ID, PAGES)).toEqual([])
  expect(sets.load(ID, PAGES)).toEqual([1])
})

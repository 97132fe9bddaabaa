import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildIso, type IsoFile } from './iso9660'

const SECTOR = 2048
const DATE = new Date('2026-11-23T12:34:56Z')
const file = (name: string, text: string): IsoFile => ({ name, data: Buffer.from(text) })
const FILES = [file('user-data', '#cloud-config\n'), file('meta-data', 'x'.repeat(5000)), file('empty', ''), file('Prüfung.txt', 'ä')]

/** A reader of its own, after ECMA-119: names and contents as one of the two trees has them. */
function read(image: Buffer, type: 1 | 2): Map<string, string> {
  let at = 16 * SECTOR
  while (image[at] !== type) {
    if (image[at] === 255) throw new Error('no such descriptor')
    at += SECTOR
  }
  expect(image.toString('latin1', at + 1, at + 6)).toBe('CD001')
  expect(image.readUInt32LE(at + 80) * SECTOR).toBe(image.length)
  const both = (offset: number): number => {
    expect(image.readUInt32BE(offset + 4)).toBe(image.readUInt32LE(offset))
    return image.readUInt32LE(offset)
  }
  const root = both(at + 156 + 2)
  expect(image.readUInt32LE(image.readUInt32LE(at + 140) * SECTOR + 2)).toBe(root)
  expect(image.readUInt32BE(image.readUInt32BE(at + 148) * SECTOR + 2)).toBe(root)
  const found = new Map<string, string>()
  for (let record = root * SECTOR; image[record] !== 0; record += image[record]) {
    const name = image.subarray(record + 33, record + 33 + image[record + 32])
    if (image[record + 25] & 2) continue
    const start = both(record + 2) * SECTOR
    const text = type === 1 ? name.toString('latin1') : Buffer.from(name).swap16().toString('utf16le')
    found.set(text, image.toString('utf8', start, start + both(record + 10)))
  }
  return found
}

describe('buildIso', () => {
  const image = Buffer.from(buildIso('cidata', FILES, DATE))
  let dir: string
  beforeAll(() => { dir = mkdtempSync(join(tmpdir(), 'nestbox-iso-')) })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  it('gives both trees the same files', () => {
    expect(read(image, 2)).toEqual(new Map(FILES.map(({ name, data }) => [name, Buffer.from(data).toString()])))
    const plain = read(image, 1)
    expect([...plain.keys()].every((name) => /^[A-Z0-9_]{1,8}\.;1$/.test(name))).toBe(true)
    expect([...plain.values()].sort()).toEqual([...read(image, 2).values()].sort())
    expect(image.toString('latin1', 16 * SECTOR + 40, 16 * SECTOR + 72)).toBe('cidata'.padEnd(32))
  })

  it('is what libarchive unpacks', () => {
    const path = join(dir, 'a.iso')
    writeFileSync(path, image)
    let out: string
    try {
      out = execFileSync('bsdtar', ['-tvf', path], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } })
    } catch (error) {
      // A computer without libarchive's command has the reader above only.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw error
    }
    expect(out).toContain('meta-data')
    execFileSync('bsdtar', ['-xf', path, '-C', dir], { env: { ...process.env, LC_ALL: 'C.UTF-8' } })
    expect(readdirSync(dir).sort()).toEqual(['Prüfung.txt', 'a.iso', 'empty', 'meta-data', 'user-data'])
    for (const { name, data } of FILES) expect(readFileSync(join(dir, name))).toEqual(Buffer.from(data))
  })

  it('refuses names that cannot be', () => {
    for (const name of ['', 'a/b', 'a\u0000', 'x'.repeat(65), 'a;1']) expect(() => buildIso('cidata', [file(name, '')])).toThrow(RangeError)
    expect(() => buildIso('ci data', FILES)).toThrow(RangeError)
    expect(() => buildIso('cidata', [file('a', ''), file('a', '')])).toThrow('one name')
    expect(() => buildIso('cidata', Array.from({ length: 60 }, (_, i) => file(`file ${i}`, '')))).toThrow('too many')
  })
})

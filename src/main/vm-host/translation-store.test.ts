import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { TranslationStore } from './translation-store'

const guest = { kernelHash: '0123', cpuProfile: 'nestbox64' }
const pack = Uint8Array.from({ length: 1000 }, (_, i) => i & 0xff)

describe('the store of translations', () => {
  let dir: string
  let program: string
  const open = (): TranslationStore => new TranslationStore(join(dir, 'translations'), program)
  const files = (): string[] => readdirSync(join(dir, 'translations')).filter((name) => name !== 'key')
  const only = (): string => join(dir, 'translations', files()[0])

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-translations-'))
    program = join(dir, 'program.cjs')
    writeFileSync(program, 'first version')
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  it('keeps translations by guest, for later processes', () => {
    open().save(guest, pack)
    expect(Uint8Array.from(open().load(guest) ?? [])).toEqual(pack)
    expect(open().load({ ...guest, cpuProfile: 'nestbox32' })).toBeUndefined()
    expect(open().load({ ...guest, kernelHash: '0124' })).toBeUndefined()
    expect(files()).toHaveLength(1)
  })

  it('keeps what is written beside a running guest just so, and nothing half where it cannot', async () => {
    await open().saveAside(guest, pack)
    const aside = readFileSync(only())
    expect(Uint8Array.from(open().load(guest) ?? [])).toEqual(pack)
    open().save(guest, pack)
    expect(readFileSync(only()).equals(aside)).toBe(true)
    const store = open()
    rmSync(join(dir, 'translations'), { recursive: true })
    await expect(store.saveAside(guest, pack)).rejects.toThrow(/ENOENT.*translations/)
  })

  it('are of one version of the program', () => {
    open().save(guest, pack)
    writeFileSync(program, 'second version')
    expect(open().load(guest)).toBeUndefined()
  })

  it('removes a file with any byte changed', () => {
    for (const at of [0, 31, 32, 600]) {
      open().save(guest, pack)
      const bytes = readFileSync(only())
      bytes[at] ^= 1
      writeFileSync(only(), bytes)
      expect(open().load(guest), `byte ${at}`).toBeUndefined()
      expect(files()).toEqual([])
    }
  })

  it('does not take what another user signed', () => {
    open().save(guest, pack)
    writeFileSync(join(dir, 'translations', 'key'), Buffer.alloc(32, 7))
    expect(open().load(guest)).toBeUndefined()
  })

  it('makes a new key where the old one was cut short', () => {
    open().save(guest, pack)
    writeFileSync(join(dir, 'translations', 'key'), '')
    open().save(guest, pack)
    expect(open().load(guest)).toBeDefined()
    expect(readFileSync(join(dir, 'translations', 'key'))).toHaveLength(32)
  })

  it('is for the user alone', () => {
    open().save(guest, pack)
    expect(statSync(join(dir, 'translations', 'key')).mode & 0o777).toBe(0o600)
    expect(statSync(only()).mode & 0o777).toBe(0o600)
  })

  it('says where it cannot write', () => {
    const store = open()
    rmSync(join(dir, 'translations'), { recursive: true })
    expect(() => store.save(guest, pack)).toThrow(/ENOENT.*translations/)
  })
})

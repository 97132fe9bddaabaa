import { spawnSync } from 'node:child_process'
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
    expect(Uint8Array.from(open().load(guest)?.pack ?? [])).toEqual(pack)
    expect(open().load({ ...guest, cpuProfile: 'nestbox32' })).toBeUndefined()
    expect(open().load({ ...guest, kernelHash: '0124' })).toBeUndefined()
    expect(files()).toHaveLength(1)
  })

  it('keeps what is written beside a running guest just so, and nothing half where it cannot', async () => {
    await open().saveAside(guest, pack)
    const aside = readFileSync(only())
    expect(Uint8Array.from(open().load(guest)?.pack ?? [])).toEqual(pack)
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

  const compiled = { wasm: Uint8Array.of(1, 2, 3), machineCode: Uint8Array.of(4, 5, 6, 7) }
  const code = (): string => join(dir, 'translations', files().find((name) => name.endsWith('.code')) ?? 'none')

  it('keeps the machine code of a pack with it, as long as it is of that pack', () => {
    open().save(guest, pack)
    open().saveCode(guest, { pack, compiled })
    const kept = open().load(guest)?.compiled
    expect([Uint8Array.from(kept?.wasm ?? []), Uint8Array.from(kept?.machineCode ?? [])]).toEqual([compiled.wasm, compiled.machineCode])
    open().save(guest, pack.slice(1))
    expect(open().load(guest)).not.toHaveProperty('compiled')
    expect(open().load(guest)?.pack).toHaveLength(pack.length - 1)
    open().save(guest, pack)
    expect(open().load(guest)?.compiled?.wasm).toHaveLength(3)
  })

  it('removes machine code with any byte changed, and keeps the pack', () => {
    for (const at of [0, 31, 32, 63, 64, 67, 68, 74]) {
      open().save(guest, pack)
      open().saveCode(guest, { pack, compiled })
      const bytes = readFileSync(code())
      bytes[at] ^= 1
      writeFileSync(code(), bytes)
      expect(open().load(guest), `byte ${at}`).not.toHaveProperty('compiled')
      expect(open().load(guest)?.pack).toHaveLength(pack.length)
      expect(files()).toHaveLength(1)
    }
  })

  it('lets one process at a time work on a guest, and does not mind one that died at it', () => {
    const store = open()
    const done: string[] = []
    expect(store.alone(guest, () => {
      done.push('outer')
      expect(open().alone(guest, () => done.push('inner'))).toBe(false)
    })).toBe(true)
    expect(done).toEqual(['outer'])
    expect(files()).toEqual([])
    expect(() => store.alone(guest, () => { throw new Error('broken') })).toThrow('broken')
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    for (const left of [String(dead), '']) {
      store.alone(guest, () => done.push(files()[0]))
      writeFileSync(join(dir, 'translations', done[done.length - 1]), left)
      expect(store.alone(guest, () => done.push('after it'))).toBe(true)
      expect(done.pop()).toBe('after it')
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

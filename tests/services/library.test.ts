import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish } from '../../src/preload/contract'
import { Library } from '../../src/main/services/library'
import { CPU_PROFILE_NAMES } from '../../src/main/services/library/defaults'
import { freeName } from '../../src/main/services/library/names'
import { CPU_PROFILES } from '../../src/main/vmm/cpu/cpuid/profiles'

describe('library', () => {
  let home: string

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-library-'))
  })

  afterEach(() => {
    rmSync(home, { recursive: true, force: true })
  })

  const machineFile = (id: string): string => join(home, 'machines', id, 'machine.json')
  const names = (library: Library): string[] => library.list().map((record) => record.settings.name)

  it('keeps machines across restarts', async () => {
    const first = await Library.open(home)
    const made = await first.create({ name: 'alpha', memoryMiB: 256, tags: ['x'], disks: [{ path: '/d', format: 'raw', readOnly: true }] })
    await first.update(made.id, { notes: 'changed' })
    const second = await Library.open(home)
    expect(second.list()).toEqual([{ ...made, settings: { ...made.settings, notes: 'changed' } }])
    expect(second.get(made.id)?.settings).toMatchObject({ memoryMiB: 256, tags: ['x'], cpuProfile: CPU_PROFILE_NAMES[0] })
  })

  it('refuses a name that is taken, whatever its case', async () => {
    const library = await Library.open(home)
    const alpha = await library.create({ name: 'Alpha' })
    await library.create({ name: 'beta' })
    await expect(library.create({ name: 'aLPHA' })).rejects.toMatchObject({ code: 'name-taken' })
    await expect(library.update(alpha.id, { name: 'Beta' })).rejects.toMatchObject({ code: 'name-taken' })
    await library.update(alpha.id, { name: 'ALPHA' })
    expect(names(library)).toEqual(['ALPHA', 'beta'])
  })

  it('gives one name to one of many that ask at once', async () => {
    const library = await Library.open(home)
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => library.create({ name: 'same' })))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(readdirSync(join(home, 'machines'))).toHaveLength(1)
  })

  it('tells which names are taken by machines that are being made', async () => {
    const library = await Library.open(home)
    const told: string[][] = []
    library.onDidClaim((claimed) => told.push(claimed))
    let seen: string[] = []
    const made = library.make({ exactly: 'alpha' }, () => {
      seen = library.claimedNames
      return Promise.resolve({ settings: { name: 'alpha' } })
    })
    const lost = library.make({ exactly: 'beta' }, () => Promise.reject(new Error('no room')))
    await expect(library.make({ exactly: 'ALPHA' }, () => Promise.reject(new Error('never asked')))).rejects.toMatchObject({ code: 'name-taken' })
    await Promise.allSettled([made, lost])
    expect(seen).toContain('alpha')
    expect([library.claimedNames, names(library)]).toEqual([[], ['alpha']])
    expect(told[0]).toEqual(['alpha'])
    expect(told.at(-1)).toEqual([])
  })

  it('keeps a damaged machine.json aside and shows the machine as damaged', async () => {
    const made = await (await Library.open(home)).create({ name: 'alpha' })
    writeFileSync(machineFile(made.id), '{ half a file')
    for (const round of [1, 2]) {
      const library = await Library.open(home)
      const record = library.get(made.id)
      expect(inEnglish(record?.damage ?? ''), `start ${round}`).toContain('machine.json.damaged-')
      await expect(library.update(made.id, { notes: 'x' })).rejects.toMatchObject({ code: 'machine-damaged' })
      const aside = readdirSync(join(home, 'machines', made.id)).filter((name) => name.startsWith('machine.json'))
      expect(aside).toHaveLength(1)
      expect(readFileSync(join(home, 'machines', made.id, aside[0]), 'utf8')).toBe('{ half a file')
    }
  })

  it('says what is wrong with a file that has the wrong form, and still knows its name', async () => {
    const made = await (await Library.open(home)).create({ name: 'alpha' })
    const file = JSON.parse(readFileSync(machineFile(made.id), 'utf8')) as { settings: { memoryMiB: unknown } }
    file.settings.memoryMiB = 'much'
    writeFileSync(machineFile(made.id), JSON.stringify(file))
    const record = (await Library.open(home)).get(made.id)
    expect(inEnglish(record?.damage ?? '')).toContain('settings.memoryMiB')
    expect(record?.settings.name).toBe('alpha')
  })

  it('leaves a newer form untouched', async () => {
    const made = await (await Library.open(home)).create({ name: 'alpha' })
    const newer = JSON.stringify({ version: 99, settings: { name: 'alpha' }, future: true })
    writeFileSync(machineFile(made.id), newer)
    const record = (await Library.open(home)).get(made.id)
    expect(inEnglish(record?.damage ?? '')).toContain('newer')
    expect(readFileSync(machineFile(made.id), 'utf8')).toBe(newer)
  })

  it('clears what a crash left half done', async () => {
    const made = await (await Library.open(home)).create({ name: 'alpha' })
    const half = join(home, 'machines', '.new-11111111-2222-4333-8444-555555555555')
    mkdirSync(half)
    writeFileSync(join(half, 'machine.json'), '{')
    writeFileSync(`${machineFile(made.id)}.tmp-0123456789ab`, 'half')
    const library = await Library.open(home)
    expect(names(library)).toEqual(['alpha'])
    expect(existsSync(half)).toBe(false)
    expect(readdirSync(join(home, 'machines', made.id))).toEqual(['machine.json'])
  })

  it('frees a name by deleting, and restores under a number where it was taken since', async () => {
    const library = await Library.open(home)
    const first = await library.create({ name: 'alpha', notes: 'the first' })
    const { item } = await library.delete(first.id)
    expect(item).toMatchObject({ machineId: first.id, name: 'alpha' })
    expect(item.sizeBytes).toBeGreaterThan(100)
    await library.create({ name: 'Alpha' })
    const again = await Library.open(home)
    expect(again.trash.list()).toEqual([item])
    const restored = await again.restore(item.id)
    expect(restored.settings).toMatchObject({ name: 'alpha 2', notes: 'the first' })
    expect(again.trash.list()).toEqual([])
    expect(names(await Library.open(home))).toEqual(['Alpha', 'alpha 2'])
  })

  it('purges for good', async () => {
    const library = await Library.open(home)
    const { item } = await library.delete((await library.create({ name: 'alpha' })).id)
    await library.purge(item.id)
    expect(readdirSync(join(home, 'trash'))).toEqual([])
    await expect(library.restore(item.id)).rejects.toMatchObject({ code: 'not-found' })
  })

  it('knows what is in the trash although the note about it is missing', async () => {
    const library = await Library.open(home)
    const { item } = await library.delete((await library.create({ name: 'alpha' })).id)
    rmSync(join(home, 'trash', item.id, 'deleted.json'))
    expect((await Library.open(home)).trash.list()).toMatchObject([{ id: item.id, name: 'alpha' }])
  })

  it('deletes and restores a damaged machine with its file', async () => {
    const made = await (await Library.open(home)).create({ name: 'alpha' })
    writeFileSync(machineFile(made.id), 'broken')
    const library = await Library.open(home)
    await library.delete(made.id)
    const restored = await library.restore(made.id)
    expect(restored.damage).toBeDefined()
    expect(readdirSync(restored.dir).some((name) => name.startsWith('machine.json.damaged-'))).toBe(true)
  })

  it('says that the library cannot be written where a file is in the way', async () => {
    writeFileSync(join(home, 'file'), '')
    await expect(Library.open(join(home, 'file'))).rejects.toMatchObject({ code: 'library-read-only' })
  })

  // Needs a file system of its own, which only root may mount.
  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('says that the disk is full, and keeps the old file', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', home])
    try {
      const library = await Library.open(home)
      const made = await library.create({ name: 'alpha' })
      const before = readFileSync(machineFile(made.id), 'utf8')
      expect(() => writeFileSync(join(home, 'filler'), Buffer.alloc(1 << 20))).toThrow('ENOSPC')
      await expect(library.update(made.id, { notes: 'n'.repeat(4000) })).rejects.toMatchObject({ code: 'disk-full' })
      await expect(library.create({ name: 'beta' })).rejects.toMatchObject({ code: 'disk-full' })
      expect(readFileSync(machineFile(made.id), 'utf8')).toBe(before)
      rmSync(join(home, 'filler'))
      expect(names(await Library.open(home))).toEqual(['alpha'])
      await library.update(made.id, { notes: 'room again' })
    } finally {
      execFileSync('umount', ['-l', home])
    }
  })

  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('says that the library is read-only', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', home])
    try {
      const library = await Library.open(home)
      const made = await library.create({ name: 'alpha' })
      execFileSync('mount', ['-o', 'remount,ro', home])
      await expect(library.update(made.id, { notes: 'x' })).rejects.toMatchObject({ code: 'library-read-only' })
      await expect(library.create({ name: 'beta' })).rejects.toMatchObject({ code: 'library-read-only' })
      expect(library.get(made.id)?.settings.notes).toBe('')
    } finally {
      execFileSync('umount', ['-l', home])
    }
  })
})

describe('defaults', () => {
  it('name the CPU models the core has', () => {
    expect(CPU_PROFILE_NAMES).toEqual(CPU_PROFILES.map(({ name }) => name))
  })

  it('number a taken name within the longest length', () => {
    expect(freeName('a', ['A', 'a 2'])).toBe('a 3')
    const long = 'x'.repeat(64)
    expect(freeName(long, [long])).toBe(`${'x'.repeat(62)} 2`)
  })
})

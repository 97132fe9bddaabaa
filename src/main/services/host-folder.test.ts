import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FOLDER_ENTRIES_MAX } from '../../preload/contract'
import { listFolder } from './host-folder'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestbox-folder-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

describe('the folders of this computer', () => {
  it('are listed with folders first, in the order people expect, without what is hidden or leads nowhere', async () => {
    for (const name of ['disk10.img', 'disk2.img', '.hidden']) writeFileSync(join(dir, name), 'abc')
    mkdirSync(join(dir, 'zeta'))
    symlinkSync(join(dir, 'gone'), join(dir, 'dead'))
    const { path, parent, entries, isCut } = await listFolder(dir)
    expect(entries.map(({ name, isFolder, bytes }) => [name, isFolder, bytes])).toEqual([['zeta', true, undefined], ['disk2.img', false, 3], ['disk10.img', false, 3]])
    expect(join(parent ?? '', path.slice((parent ?? '').length))).toBe(path)
    expect(isCut).toBe(false)
  })

  it('begin at a file’s folder, at home, and end at the top', async () => {
    writeFileSync(join(dir, 'kernel'), '')
    expect((await listFolder(join(dir, 'kernel'))).entries.map(({ name }) => name)).toEqual(['kernel'])
    expect((await listFolder('/')).parent).toBeNull()
    expect((await listFolder()).path.length).toBeGreaterThan(0)
    expect(homedir()).not.toBe('')
  })

  it('say what is wrong', async () => {
    await expect(listFolder(join(dir, 'none'))).rejects.toMatchObject({ code: 'file-missing', message: expect.stringContaining(join(dir, 'none')) as string })
    await expect(listFolder('relative')).rejects.toMatchObject({ code: 'invalid-argument' })
  })

  it('are cut when they are huge, and say so', async () => {
    for (let i = 0; i < FOLDER_ENTRIES_MAX + 5; i++) writeFileSync(join(dir, `f${i}`), '')
    const { entries, isCut } = await listFolder(dir)
    expect(entries).toHaveLength(FOLDER_ENTRIES_MAX)
    expect(isCut).toBe(true)
  })
})

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DEFAULT_SETTINGS } from '../library/defaults'
import { SnapshotRecords, type SnapshotRecord } from './records'
import { SnapshotStore } from './store'

const COUNT = 500

describe('hundreds of snapshots', () => {
  let dir: string
  let known: SnapshotRecords
  let ids: string[]
  const store = (): SnapshotStore => new SnapshotStore(dir, known)

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-records-'))
    known = new SnapshotRecords()
    ids = Array.from({ length: COUNT }, () => randomUUID())
    ids.forEach((id, i) => {
      const record: SnapshotRecord = {
        version: 1, id, name: `snapshot ${i}`, notes: '', createdAt: new Date(1e12 + i * 1000).toISOString(), parent: ids[i - 1] ?? null, kind: 'user',
        hasState: false, settings: { ...DEFAULT_SETTINGS, name: 'm' }, disks: [],
      }
      mkdirSync(join(dir, 'snapshots', id), { recursive: true })
      writeFileSync(join(dir, 'snapshots', id, 'snapshot.json'), JSON.stringify(record))
    })
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  it('are read once, however often they are listed', async () => {
    expect((await store().list()).map(({ id }) => id)).toEqual(ids)
    for (const id of ids) await store().facts(id)
    // A record and what is shown beside it.
    expect(known.filesRead).toBe(2 * COUNT)
    for (let i = 0; i < 3; i++) expect(await store().list()).toHaveLength(COUNT)
    for (const id of ids) await store().facts(id)
    expect(await store().damaged()).toEqual([])
    expect(known.filesRead).toBe(2 * COUNT)
  })

  it('cost the reading of what was changed when one is renamed or removed', async () => {
    const [first] = await store().list()
    const before = known.filesRead
    await store().write({ ...first, name: 'renamed' })
    expect((await store().list())[0].name).toBe('renamed')
    expect(known.filesRead).toBe(before + 1)
    // The one that goes is read under the name it goes by, its child because its parent is another one now.
    await store().remove(ids[250])
    const left = await store().list()
    expect(left).toHaveLength(COUNT - 1)
    expect(left.find(({ id }) => id === ids[251])?.parent).toBe(ids[249])
    expect(known.filesRead).toBe(before + 3)
  })

  it('that were changed by another program are seen', async () => {
    await store().list()
    writeFileSync(join(dir, 'snapshots', ids[7], 'snapshot.json'), '{')
    expect(await store().list()).toHaveLength(COUNT - 1)
    expect((await store().damaged()).map(({ id }) => id)).toEqual([ids[7]])
  })
})

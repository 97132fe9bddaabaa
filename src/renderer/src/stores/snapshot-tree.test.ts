import { describe, expect, it } from 'vitest'
import type { Snapshot } from '../api/types'
import { lineOf, PRESENT, snapshotRows } from './snapshot-tree'

const snapshot = (id: string, parent: string | null): Snapshot => ({
  id, parent, name: id, notes: '', createdAt: '', kind: 'user', hasState: false, memoryMiB: 512, bytes: 0,
})
/** root → a → b (present); root → c; a second root. */
const tree = { current: 'b', snapshots: [snapshot('root', null), snapshot('c', 'root'), snapshot('a', 'root'), snapshot('b', 'a'), snapshot('other', null)] }

describe('the rows of a snapshot tree', () => {
  it('go down each branch, with the present below where it came from', () => {
    expect(snapshotRows(tree, new Set()).map(({ id, level, indent }) => [id, level, indent])).toEqual([
      ['root', 1, 0], ['c', 2, 1], ['a', 2, 0], ['b', 3, 0], [PRESENT, 4, 0], ['other', 1, 0],
    ])
  })

  it('draw the lines that pass by', () => {
    expect(snapshotRows(tree, new Set()).map((row) => [row.id, row.isAside, row.hasLineUp, row.hasLineDown, row.through])).toEqual([
      ['root', false, false, true, []], ['c', true, false, false, [0]], ['a', false, true, true, []], ['b', false, true, true, []],
      [PRESENT, false, true, false, []], ['other', false, false, false, []],
    ])
  })

  it('tell assistive software place and size of each level', () => {
    expect(snapshotRows(tree, new Set()).map(({ id, place, siblings, parent }) => [id, place, siblings, parent])).toEqual([
      ['root', 1, 2, null], ['c', 1, 2, 'root'], ['a', 2, 2, 'root'], ['b', 1, 1, 'a'], [PRESENT, 1, 1, 'b'], ['other', 2, 2, null],
    ])
  })

  it('fold at branches only, and say how much is hidden', () => {
    const rows = snapshotRows(tree, new Set(['root', 'a']))
    expect(rows.map(({ id, isFolded, descendants }) => [id, isFolded, descendants])).toEqual([['root', true, 4], ['other', false, 0]])
    expect(snapshotRows(tree, new Set(['a'])).map((row) => row.id)).toContain('b')
  })

  it('show the present alone where there are no snapshots', () => {
    expect(snapshotRows({ current: null, snapshots: [] }, new Set()).map((row) => row.id)).toEqual([PRESENT])
  })

  it('stay at the left however long the line is', () => {
    const many = Array.from({ length: 20_000 }, (_, i) => snapshot(`s${i}`, i === 0 ? null : `s${i - 1}`))
    const rows = snapshotRows({ current: 's19999', snapshots: many }, new Set())
    expect(rows).toHaveLength(20_001)
    expect(rows.at(-1)).toMatchObject({ id: PRESENT, level: 20_001, indent: 0 })
    expect(rows[0].descendants).toBe(20_000)
  })

  it('find the line of descent', () => {
    expect(lineOf(tree, 'b')).toEqual(['root', 'a', 'b'])
    expect(lineOf(tree, 'gone')).toEqual([])
  })
})

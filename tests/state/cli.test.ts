/** The commands for suspending and snapshots, as scripts use them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Machine, Snapshot, SnapshotTree } from '../../src/preload/contract'
import { CliFolder, type CliResult } from '../fixtures/run-cli'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'

describe('nestbox vm suspend and nestbox snapshot', () => {
  let world: CliFolder
  let dir: string

  beforeAll(() => {
    world = new CliFolder('state-cli')
    dir = world.dir
    writeFileSync(join(dir, 'echo.bin'), buildTinyKernel(GUESTS.echo))
  }, 60_000)
  afterAll(() => world.end())

  const nestbox = (...args: string[]): Promise<CliResult> => world.run(...args)
  const json = <T>(...args: string[]): Promise<T> => world.json<T>(...args)

  it('suspends, continues, discards', async () => {
    await json('vm', 'create', 'a', '--kernel', 'echo.bin', '--memory', '32', '--on-reset', 'stop')
    await json('vm', 'start', 'a')
    const suspended = await json<Machine & { saved: { fileBytes: number } }>('vm', 'suspend', 'a')
    expect(suspended.state).toBe('saved')
    expect(suspended.saved.fileBytes).toBeGreaterThan(0)
    expect((await json<Machine>('vm', 'start', 'a')).state).toBe('running')
    await json('vm', 'suspend', 'a')
    await json('vm', 'set', 'a', '--memory', '64')
    const refused = await nestbox('vm', 'start', 'a', '--json')
    expect(JSON.parse(refused.err)).toMatchObject({ error: { code: 'state-mismatch' } })
    expect((await json<Machine>('vm', 'start', 'a', '--fresh')).state).toBe('running')
    await json('vm', 'suspend', 'a')
    expect((await json<Machine>('vm', 'discard', 'a')).state).toBe('stopped')
    // The manager's end suspends what runs.
    await json('vm', 'start', 'a')
    expect((await nestbox('manager', 'stop')).code).toBe(0)
    expect((await json<Machine>('vm', 'info', 'a')).state).toBe('saved')
    await json('vm', 'discard', 'a')
  })

  it('takes, lists, restores, renames and deletes snapshots', async () => {
    await json('vm', 'start', 'a')
    const first = await json<Snapshot>('snapshot', 'take', 'a', 'first one', '--notes', 'n')
    expect(first).toMatchObject({ name: 'first one', notes: 'n', hasState: true })
    expect(await json<Machine>('snapshot', 'restore', 'a', 'First One', '--start')).toMatchObject({ state: 'running' })
    const tree = await json<SnapshotTree>('snapshot', 'list', 'a')
    expect(tree.current).toBe(first.id)
    expect(tree.snapshots.map(({ name, kind }) => [name, kind])).toEqual([['first one', 'user'], ['Before first one', 'undo']])
    expect((await nestbox('snapshot', 'list', 'a')).out).toMatch(/first one \*[\s\S]*\n {2}Before first one/)
    expect(await json('snapshot', 'rename', 'a', 'first one', 'second')).toMatchObject({ name: 'second' })
    // Without its memory, where that is of no use.
    expect(await json<Machine>('snapshot', 'restore', 'a', 'second', '--fresh', '--no-keep-current')).toMatchObject({ state: 'stopped', undo: null })
    await json('snapshot', 'delete', 'a', first.id)
    expect((await json<SnapshotTree>('snapshot', 'list', 'a')).snapshots).toHaveLength(1)
    expect((await nestbox('snapshot', 'restore', 'a', 'second')).code).toBe(5)
  })
})

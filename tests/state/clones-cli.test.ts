/** The commands for clones, templates and archives, as scripts use them. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Exported, Imported, Machine, Snapshot, Template } from '../../src/preload/contract'
import { CliFolder, type CliResult } from '../fixtures/run-cli'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'

describe('nestbox vm clone, export, import and nestbox template', () => {
  let world: CliFolder
  let dir: string

  beforeAll(async () => {
    world = new CliFolder('clones-cli')
    dir = world.dir
    writeFileSync(join(dir, 'echo.bin'), buildTinyKernel(GUESTS.echo))
    writeFileSync(join(dir, 'disk.img'), Buffer.alloc(1 << 20, 'x'))
    writeFileSync(join(dir, 'key.pub'), 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8q0yqk1Wl0 me@here\n')
    await json('vm', 'create', 'a', '--kernel', 'echo.bin', '--memory', '32', '--on-reset', 'stop', '--disk', 'disk.img')
  }, 60_000)
  afterAll(() => world.end())

  const nestbox = (...args: string[]): Promise<CliResult> => world.run(...args)
  const json = <T>(...args: string[]): Promise<T> => world.json<T>(...args)

  it('clones machines and snapshots', async () => {
    await json<Snapshot>('snapshot', 'take', 'a', 's')
    expect(await json<Machine>('vm', 'clone', 'a', 'b')).toMatchObject({ name: 'b', state: 'stopped', origin: { kind: 'clone', name: 'a' } })
    expect(await json<Machine>('vm', 'clone', 'a', 'c', '--snapshot', 'S')).toMatchObject({ origin: { kind: 'clone' } })
    expect((await nestbox('vm', 'clone', 'a', 'b')).code).toBe(6)
    expect((await nestbox('vm', 'clone', 'a', 'd', '--snapshot', 'none')).code).toBe(5)
    await json('vm', 'delete', 'c')
  })

  it('exports and imports', async () => {
    const out = await json<Exported>('vm', 'export', 'a', 'a.nestbox')
    expect(out).toMatchObject({ format: 'nestbox', bytes: statSync(join(dir, 'a.nestbox')).size })
    expect((await nestbox('vm', 'export', 'a', 'a.nestbox')).code).toBe(6)
    expect((await nestbox('vm', 'export', 'a', 'a.nestbox', '--force', '--no-snapshots')).out).toMatch(/^Exported a to .*a\.nestbox \(/)
    expect(await json<Exported>('vm', 'export', 'a', 'a.bin', '--format', 'ova')).toMatchObject({ format: 'ova' })
    expect((await nestbox('vm', 'export', 'a', 'a.bin')).code).toBe(2)
    const { machine } = await json<Imported>('vm', 'import', 'a.nestbox', '--name', 'back')
    expect(machine).toMatchObject({ name: 'back' })
    expect(readFileSync(machine.disks[0].path)).toEqual(readFileSync(join(dir, 'disk.img')))
    expect((await nestbox('vm', 'import', 'disk.img', '--json')).err).toContain('bad-archive')
    expect((await nestbox('vm', 'import', 'none.ova')).code).toBe(5)
    await json('vm', 'delete', 'back')
  })

  it('makes templates, and machines from them', async () => {
    expect(await json<Machine>('template', 'create', 'b')).toMatchObject({ isTemplate: true })
    expect((await nestbox('vm', 'start', 'b')).code).toBe(6)
    expect(await json<Machine>('template', 'create', 'a', '--copy', 'base')).toMatchObject({ name: 'base', isTemplate: true })
    const made = await json<Machine>('vm', 'create', 'web', '--template', 'base', '--memory', '48', '--hostname', 'web.example', '--user', 'me', '--ssh-key', 'key.pub')
    expect(made).toMatchObject({ memoryMiB: 48, origin: { kind: 'template', name: 'base' } })
    expect(readFileSync(made.disks[1].path, 'latin1')).toContain('me@here')
    expect(await json<Machine>('vm', 'create', 'whole', '--template', 'base', '--full')).toMatchObject({ origin: { linked: false }, disks: [{ format: 'raw' }] })
    expect(await json<Machine>('vm', 'start', 'web')).toMatchObject({ state: 'running' })
    await json('vm', 'stop', 'web', '--force')
    const templates = await json<Template[]>('template', 'list')
    expect(templates.map(({ name, madeFrom }) => [name, madeFrom.map((m) => m.name)])).toEqual([['b', []], ['base', ['web', 'whole']]])
    expect((await nestbox('template', 'list')).out).toMatch(/base\s+boots\s+32 MiB/)
    expect((await nestbox('vm', 'list')).out).toMatch(/base\s+template/)
    expect((await nestbox('vm', 'create', 'x', '--template', 'a')).code).toBe(6)
    expect(await json<Machine>('template', 'release', 'b')).toMatchObject({ name: 'b' })
    expect((await nestbox('template', 'delete', 'b')).code).toBe(6)
    expect((await nestbox('template', 'delete', 'base', '--json')).err).toContain('has-clones')
    await json('vm', 'delete', 'web')
    await json('vm', 'purge', 'web')
    expect((await nestbox('template', 'delete', 'base')).code).toBe(0)
  })
})

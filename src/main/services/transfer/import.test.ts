import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { exportArchive } from '../archive/nestbox-archive'
import { DEFAULT_SETTINGS } from '../library/defaults'
import type { Progress } from '../types'
import { BUNDLE_FILE } from './bundle'
import { importMachine, nameAfter } from './import'

const ID = '6b1f3a2e-0f3c-4f5e-9d0e-0123456789ab'
const progress: Progress = { report: () => undefined, signal: new AbortController().signal }
const SETTINGS = { ...DEFAULT_SETTINGS, name: 'm', kernel: 'boot/0-k', disks: [{ path: 'disks/1-d.img', format: 'raw', readOnly: false }] }
const SNAPSHOT = {
  version: 1, id: ID, name: 's', notes: '', createdAt: '2026-01-01T00:00:00Z', parent: null, kind: 'user', hasState: false, settings: SETTINGS,
  disks: [{ path: 'disks/1-d.img', file: 'disk0.img' }],
}
const FILES = { 'boot/0-k': 'kernel', 'disks/1-d.img': 'disk' }

describe('importing our own archive', () => {
  let dir: string
  beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'nestbox-import-')) })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  async function imported(about: object | undefined, files: Readonly<Record<string, string | Buffer>> = FILES): ReturnType<typeof importMachine> {
    const path = join(dir, 'a.nestbox')
    const bundle = about && { version: 1, settings: SETTINGS, isTemplate: false, snapshots: [], current: null, ...about }
    const members = { ...(bundle && { [BUNDLE_FILE]: JSON.stringify(bundle) }), ...files }
    await exportArchive('m', Object.entries(members).map(([name, data]) => ({ name, data: Buffer.from(data) })), path, progress)
    const into = join(dir, 'into')
    await rm(into, { recursive: true, force: true })
    await mkdir(into)
    return importMachine(path, { id: ID, dir: into, finalDir: '/final' }, progress)
  }

  it('puts every path into the new folder', async () => {
    const { machine } = await imported({ snapshots: [SNAPSHOT], current: ID, isTemplate: true }, { ...FILES, [`snapshots/${ID}/disk0.img`]: 'old' })
    expect(machine).toMatchObject({ isTemplate: true, settings: { kernel: '/final/boot/0-k', initrd: '', disks: [{ path: '/final/disks/1-d.img' }] } })
    expect((await readdir(join(dir, 'into'))).sort()).toEqual(['boot', 'disks', 'snapshots'])
    expect((await readdir(join(dir, 'into', 'snapshots', ID))).sort()).toEqual(['disk0.img', 'snapshot.json'])
  })

  it('says which CPU model it does not know', async () => {
    const { machine, warnings } = await imported({ settings: { ...SETTINGS, cpuProfile: 'other' } })
    expect(machine.settings.cpuProfile).toBe(DEFAULT_SETTINGS.cpuProfile)
    expect(warnings).toHaveLength(1)
  })

  const disk = (path: string, readOnly = false): object => ({ settings: { ...SETTINGS, disks: [{ path, format: 'raw', readOnly }] } })
  const snapshot = (change: object): object => ({ snapshots: [{ ...SNAPSHOT, ...change }] })
  const withCopy = { ...FILES, [`snapshots/${ID}/disk0.img`]: 'old' }
  it.each<[string, object | undefined, Readonly<Record<string, string>>, string]>([
    ['no description', undefined, FILES, 'missing'],
    ['a disk of this computer', disk('/etc/passwd', true), FILES, 'refused'],
    ['a disk above the folder', disk('disks/../../x'), FILES, 'refused'],
    ['a kernel of this computer', { settings: { ...SETTINGS, kernel: '/boot/vmlinuz' } }, FILES, 'refused'],
    ['a file that is missing', disk('disks/2-e.img'), FILES, 'missing'],
    ['a file that nothing speaks of', {}, { ...FILES, 'boot/other': 'x' }, 'does not belong'],
    ['a machine file of its own', {}, { ...FILES, 'machine.json': '{}' }, 'does not belong'],
    ['a snapshot that is not listed', {}, { ...FILES, [`snapshots/${ID}/snapshot.json`]: '{}' }, 'does not belong'],
    ['a disk where the record belongs', snapshot({ disks: [{ path: 'disks/1-d.img', file: 'snapshot.json' }] }), { ...FILES, [`snapshots/${ID}/snapshot.json`]: '{}' }, 'cannot be'],
    ['a snapshot that goes back elsewhere', snapshot({ disks: [{ path: '/etc/passwd', file: 'disk0.img' }] }), withCopy, 'refused'],
    ['a snapshot that goes back to the folder', snapshot({ disks: [{ path: 'disks/..', file: 'disk0.img' }] }), withCopy, 'refused'],
    ['a snapshot without its disk', snapshot({}), FILES, 'missing'],
    ['a snapshot without its memory', snapshot({ hasState: true }), withCopy, 'missing'],
    ['one snapshot twice', { snapshots: [SNAPSHOT, SNAPSHOT] }, withCopy, 'twice'],
    ['absurd memory', { settings: { ...SETTINGS, memoryMiB: 1e9 } }, FILES, 'memoryMiB'],
  ])('refuses %s', async (_what, about, files, why) => {
    await expect(imported(about, files)).rejects.toMatchObject({ code: 'bad-archive', message: expect.stringContaining(why) as string })
  })

  it('refuses what a newer Nestbox wrote', async () => {
    await expect(imported({ version: 2 })).rejects.toMatchObject({ code: 'unsupported' })
  })

  it('refuses qcow2 disks that refer to other files', async () => {
    const about = { settings: { ...SETTINGS, disks: [{ path: 'disks/1-d.img', format: 'qcow2', readOnly: false }] } }
    const header = Buffer.alloc(112)
    header.write('QFI\xfb', 'latin1')
    header.writeUInt32BE(3, 4)
    await imported(about, { ...FILES, 'disks/1-d.img': header })
    const backing = Buffer.from(header)
    backing.writeBigUInt64BE(512n, 8)
    const external = Buffer.from(header)
    external.writeBigUInt64BE(4n, 72)
    for (const bytes of [backing, external]) {
      await expect(imported(about, { ...FILES, 'disks/1-d.img': bytes })).rejects.toMatchObject({ message: expect.stringContaining('another file') as string })
    }
    await expect(imported(about)).rejects.toMatchObject({ message: expect.stringContaining('not qcow2') as string })
  })

  it('makes names that machines can have', () => {
    expect(nameAfter('Büro "1" <x>', '/a/b.ova')).toBe('Büro 1 x')
    expect(nameAfter('--force', '/a/b.ova')).toBe('force')
    expect(nameAfter('\u0007', '/a/Debian 12.ova')).toBe('Debian 12')
    expect(nameAfter('', '/a/***.ova')).toBe('Imported')
    expect(nameAfter('x'.repeat(200), '/a').length).toBeLessThanOrEqual(64)
  })
})

/**
 * Disks, the trash, templates and archives under faults: the manager is killed at some of its writes, spread over all, with a full disk, in a folder
 * that cannot be written, and with damaged files, each is in the old or in the new state afterwards, and no other file has changed.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, openSync, closeSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CallName, CallParams, CallResult } from '../../src/preload/contract'
import { openDisk } from '../../src/main/host/disks/open'
import { createQcow2, writeQcow2 } from '../../src/main/host/disks/qcow2/create'
import { identityOf } from '../../src/main/host/disks/qcow2/identity'
import { createManager, type Manager } from '../../src/main/services/manager'
import { HOST_FAULTS, during } from '../fixtures/host-faults'
import { KillableManager } from '../fixtures/killed-manager'
import { checkSound } from '../fixtures/qemu-img'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'

const MIB = 1 << 20
const DISK_BYTES = 2 * MIB
/** Small clusters have small tables: growing needs a longer one. */
const CLUSTER_BITS = 12
const REFCOUNT_TABLE_FIELD = 48
/** Of each operation, so many places to be cut off at; of one with few changes, before each. */
const KILLS = 4
const FEW = 12

/** `{…}` in the parameters: the folder of the files, or the id of a machine. */
const OPERATIONS: Readonly<Record<string, readonly [CallName, object]>> = {
  'create a raw disk': ['disk.create', { path: '{files}/made', format: 'raw', sizeBytes: DISK_BYTES }],
  'create a qcow2 disk': ['disk.create', { path: '{files}/made', format: 'qcow2', sizeBytes: DISK_BYTES }],
  'convert to raw': ['disk.convert', { path: '{files}/disk.qcow2', target: '{files}/made', format: 'raw' }],
  'convert to qcow2': ['disk.convert', { path: '{files}/disk.raw', target: '{files}/made', format: 'qcow2' }],
  'convert to vmdk': ['disk.convert', { path: '{files}/disk.qcow2', target: '{files}/made', format: 'vmdk' }],
  'enlarge a qcow2 disk': ['disk.resize', { path: '{files}/disk.qcow2', sizeBytes: 1 << 30 }],
  'enlarge a raw disk': ['disk.resize', { path: '{files}/disk.raw', sizeBytes: 2 * DISK_BYTES }],
  'make a qcow2 disk smaller': ['disk.resize', { path: '{files}/disk.qcow2', sizeBytes: MIB + 512, shrink: true }],
  'make a raw disk smaller': ['disk.resize', { path: '{files}/disk.raw', sizeBytes: MIB + 512, shrink: true }],
  'compact a qcow2 disk': ['disk.compact', { path: '{files}/disk.qcow2' }],
  'compact a raw disk': ['disk.compact', { path: '{files}/disk.raw' }],
  repair: ['disk.repair', { path: '{files}/wrong.qcow2' }],
  rebase: ['disk.rebase', { path: '{files}/over.qcow2', backing: '{files}/base.moved' }],
  'rebase where the header has no room for two names': ['disk.rebase', { path: '{files}/small.qcow2', backing: '{files}/{deep}', acceptChange: true }],
  'delete a machine': ['machine.delete', { id: '{one}' }],
  'restore from the trash': ['trash.restore', { id: '{gone}' }],
  'delete for ever': ['trash.purge', { id: '{gone}' }],
  'make a template of a machine': ['template.create', { id: '{one}' }],
  'delete a template': ['template.delete', { id: '{template}' }],
  'make a machine with a cloud-init disk': ['machine.create', { settings: { name: 'made', kernel: '{files}/kernel', memoryMiB: 32 }, cloudInit: { hostname: 'made', user: 'me' } }],
  'clone a machine': ['machine.clone', { id: '{one}', name: 'made' }],
  'make a linked clone': ['machine.clone', { id: '{one}', name: 'made', linked: true }],
  'make a linked machine of a template': ['machine.create', { settings: { name: 'made' }, template: '{template}' }],
  'make a machine of a template with disks of its own': ['machine.create', { settings: { name: 'made' }, template: '{template}', linked: false }],
  'make a machine of a template again': ['template.release', { id: '{template}' }],
  'rename a machine and change its notes': ['machine.update', { id: '{one}', settings: { name: 'renamed', notes: 'of it' } }],
  'take a snapshot': ['snapshot.take', { id: '{one}', name: 'taken' }],
  'rename a snapshot and change its notes': ['snapshot.change', { id: '{kept}', snapshotId: '{point}', name: 'renamed', notes: 'of it' }],
  'delete a snapshot': ['snapshot.delete', { id: '{kept}', snapshotId: '{point}' }],
  'go back to a snapshot': ['snapshot.restore', { id: '{kept}', snapshotId: '{point}', keepCurrent: false }],
  'go back to a snapshot and keep the present': ['snapshot.restore', { id: '{kept}', snapshotId: '{point}' }],
  'export as our archive': ['machine.export', { id: '{one}', path: '{files}/made', format: 'nestbox' }],
  'export as OVA': ['machine.export', { id: '{one}', path: '{files}/made', format: 'ova' }],
  'import an OVA': ['machine.import', { path: '{files}/archive.ova', name: 'made' }],
  'import our archive': ['machine.import', { path: '{files}/archive.nestbox', name: 'made' }],
}
/** What each of these reads. */
const NEEDS: Readonly<Record<string, string>> = {
  'convert to raw': 'disk.qcow2',
  'convert to vmdk': 'disk.qcow2',
  'enlarge a qcow2 disk': 'disk.qcow2',
  'make a qcow2 disk smaller': 'disk.qcow2',
  'compact a qcow2 disk': 'disk.qcow2',
  repair: 'wrong.qcow2',
  rebase: 'over.qcow2',
  'clone a machine': 'disk.qcow2',
  'make a linked clone': 'disk.qcow2',
  'take a snapshot': 'disk.qcow2',
  'export as our archive': 'disk.qcow2',
  'export as OVA': 'disk.qcow2',
  'import an OVA': 'archive.ova',
  'import our archive': 'archive.nestbox',
}
/** What becomes of the file. */
const DAMAGES: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'its first bytes changed': (bytes) => Buffer.concat([bytes.subarray(0, 8).map((byte) => byte ^ 0xff), bytes.subarray(8)]),
  'cut off in the middle': (bytes) => bytes.subarray(0, bytes.length >> 1),
  empty: () => Buffer.alloc(0),
}
/** They free room, or need none. */
const WITHOUT_ROOM = ['create a raw disk', 'enlarge a raw disk', 'make a qcow2 disk smaller', 'make a raw disk smaller', 'repair', 'rebase', 'delete a machine', 'restore from the trash', 'delete for ever', 'delete a template', 'delete a snapshot']
/** They make no file: where the test may not mount, it can take the right to make some only. */
const IN_PLACE = ['enlarge a qcow2 disk', 'enlarge a raw disk', 'make a qcow2 disk smaller', 'make a raw disk smaller', 'repair', 'rebase']
/** What they write lies outside the folder of the files, in the library. */
const IN_LIBRARY = ['delete a machine', 'restore from the trash', 'delete for ever', 'make a template of a machine', 'delete a template', 'import an OVA', 'import our archive', 'make a machine with a cloud-init disk', 'clone a machine', 'take a snapshot',
  'make a linked clone', 'make a linked machine of a template', 'make a machine of a template with disks of its own', 'make a machine of a template again',
  'rename a machine and change its notes', 'rename a snapshot and change its notes', 'delete a snapshot', 'go back to a snapshot', 'go back to a snapshot and keep the present']
/** Where header and tables are whole these are done: a rebase needs no data, and a copy reads as what it is a copy of, here and there. */
const WITHOUT_DATA = ['rebase', 'clone a machine', 'make a linked clone', 'take a snapshot', 'export as our archive']
/** What a killed process leaves beside its target: it has the number of the process in it. */
const LEFT = /\.\d+-\d+\.(?:writing|compacting)$|\.tmp-[0-9a-f]{12}$|\.lock$/

interface View {
  readonly machines: readonly string[]
  readonly trash: readonly string[]
  /** Of the machines `one` and `kept`: name, notes and whether the present descends from it. */
  readonly snapshots: readonly string[]
  /** Of each file what a guest reads of it, or its bytes where it is no disk. */
  readonly files: Readonly<Record<string, string>>
  /** Of the disk with wrong counts. */
  readonly isRepaired: boolean
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16)

async function guestView(path: string): Promise<string> {
  try {
    const disk = await openDisk(path, true)
    try {
      const bytes = Buffer.alloc(Math.min(disk.sizeBytes, 2 * DISK_BYTES))
      await disk.read(0, bytes)
      return `${disk.sizeBytes} bytes, ${digest(bytes)}`
    } finally {
      await disk.close()
    }
  } catch (error) {
    return `unreadable: ${(error as { code?: string }).code}`
  }
}

describe('disks, the trash, templates and archives under faults', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nestbox-disk-faults-'))
  const [work, pristine] = [join(dir, 'work'), join(dir, 'pristine')]
  const [files, home] = [join(work, 'files'), join(work, 'home')]
  const deep = Array<string>(3).fill('d'.repeat(200)).join('/')
  const ids: Record<string, string> = { files, deep: `${deep}/base` }
  let manager: Manager | undefined
  let killable: KillableManager

  async function call<N extends CallName>(name: N, params: CallParams<N>): Promise<CallResult<N>> {
    manager ??= await createManager({ home, vmHostEntry: '' })
    const outcome = await manager.connect(() => undefined).call(name, params)
    if (!outcome.ok) throw Object.assign(new Error(outcome.error.message), outcome.error)
    return outcome.result as CallResult<N>
  }

  async function close(): Promise<void> {
    await manager?.shutdown()
    manager = undefined
    // The lock of a killed process would count as held until it is old.
    rmSync(join(home, 'manager.lock'), { recursive: true, force: true })
  }

  async function reset(): Promise<void> {
    await close()
    rmSync(work, { recursive: true, force: true })
    execFileSync('cp', ['-a', pristine, work])
  }

  const filled = (params: object): string => JSON.stringify(params).replaceAll(/\{(\w+)\}/g, (_, name: string) => ids[name])

  async function prepareDisks(): Promise<void> {
    const bytes = Buffer.alloc(DISK_BYTES)
    for (let at = 0; at < DISK_BYTES / 2; at += 1009) bytes.writeUInt32LE(at + 1, at)
    for (const name of ['disk.raw', 'base', 'made.part', 'made.writing']) writeFileSync(join(files, name), bytes.subarray(0, name.startsWith('made') ? 100 : DISK_BYTES))
    const source = await openDisk(join(files, 'disk.raw'), true)
    for (const name of ['disk.qcow2', 'wrong.qcow2']) await writeQcow2(source, join(files, name), { clusterBits: CLUSTER_BITS })
    await source.close()
    // What the guest has zeroed since: there is something to compact.
    const disk = await openDisk(join(files, 'disk.qcow2'), false)
    await disk.write(0, new Uint8Array(DISK_BYTES / 4))
    await disk.close()
    const image = readFileSync(join(files, 'wrong.qcow2'))
    const block = Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(REFCOUNT_TABLE_FIELD))))
    const wrong = openSync(join(files, 'wrong.qcow2'), 'r+')
    writeSync(wrong, Uint8Array.of(0, 0, 0, 7), 0, 4, block + 2 * 20)
    closeSync(wrong)
    const base = join(files, 'base')
    await createQcow2(join(files, 'over.qcow2'), { sizeBytes: DISK_BYTES, backing: { path: base, format: 'raw', identity: await identityOf(base) } })
    // It knows what it lies over by size and time.
    await createQcow2(join(files, 'top.qcow2'), { sizeBytes: DISK_BYTES, backing: { path: 'over.qcow2', format: 'qcow2', identity: await identityOf(join(files, 'over.qcow2')) } })
    await createQcow2(join(files, 'small.qcow2'), { sizeBytes: DISK_BYTES, clusterBits: 10, backing: { path: base, format: 'raw', identity: await identityOf(base) } })
    mkdirSync(join(files, deep), { recursive: true })
    copyFileSync(base, join(files, deep, 'base'))
    renameSync(base, join(files, 'base.moved'))
  }

  beforeAll(async () => {
    mkdirSync(files, { recursive: true })
    const kernel = join(files, 'kernel')
    writeFileSync(kernel, buildTinyKernel(GUESTS.hello))
    await prepareDisks()
    const make = async (name: string, disk: string): Promise<string> => {
      const disks = [{ path: join(files, disk), format: disk.endsWith('raw') ? 'raw' as const : 'qcow2' as const, readOnly: false }]
      return (await call('machine.create', { settings: { name, kernel, memoryMiB: 32, disks } })).id
    }
    ids.one = await make('one', 'disk.qcow2')
    ids.other = await make('other', 'disk.raw')
    const kept = join(files, 'kept.raw')
    writeFileSync(kept, Buffer.alloc(DISK_BYTES / 16, 'then'))
    ids.kept = await make('kept', 'kept.raw')
    ids.point = (await call('snapshot.take', { id: ids.kept, name: 'point' })).id
    writeFileSync(kept, Buffer.alloc(DISK_BYTES / 16, 'now'))
    ids.template = (await call('template.create', { id: ids.other, name: 'template' })).id
    for (const format of ['ova', 'nestbox'] as const) await call('machine.export', { id: ids.one, path: join(files, `archive.${format}`), format })
    const copy = await call('machine.clone', { id: ids.one, name: 'gone' })
    ids.gone = (await call('machine.delete', { id: copy.id })).id
    await close()
    execFileSync('cp', ['-a', work, pristine])
    killable = new KillableManager('', 'writes')
  })
  afterAll(async () => {
    await close()
    killable.close()
    rmSync(dir, { recursive: true, force: true })
  })

  /** A machine that is gone has none. */
  async function snapshotsOf(id: string): Promise<string[]> {
    const tree = await call('snapshot.list', { id }).catch(() => undefined)
    return (tree?.snapshots ?? []).map(({ id: own, name, notes }) => `${name} ${notes}${own === tree?.current ? ', current' : ''}`)
  }

  async function view(): Promise<View> {
    // What a killed one has left is put right at the start.
    await call('machine.list', {})
    const names = readdirSync(files).filter((name) => !LEFT.test(name) && name !== '..filler').sort()
    const ofFile = async (name: string): Promise<string> => (/^(?:archive|kernel|made\.)/.test(name) ? digest(readFileSync(join(files, name))) : guestView(join(files, name)))
    return {
      machines: (await call('machine.list', {})).map(({ name, state, isTemplate, notes }) => `${name}, ${state}${isTemplate ? ', template' : ''} ${notes}`).sort(),
      isRepaired: (await call('disk.check', { path: join(files, 'wrong.qcow2') })).corruptions === 0,
      snapshots: (await Promise.all([ids.one, ids.kept].map(snapshotsOf))).flat(),
      trash: (await call('trash.list', {})).map(({ name }) => name).sort(),
      files: Object.fromEntries(await Promise.all(names.map(async (name) => [name, await ofFile(name)] as const))),
    }
  }

  /** An archive has its time in it, so what it is is what it holds. */
  const listed = (seen: View): View => (seen.files.made === undefined ? seen : { ...seen, files: { ...seen.files, made: 'made' } })

  /** Digest of every file of the library and of the folder beside it, but for logs and locks. */
  function bytesOfAll(): Record<string, string> {
    const below = (folder: string): string[] => readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) return ['logs', 'manager.lock'].includes(entry.name) ? [] : below(path)
      return [path]
    })
    return Object.fromEntries(below(work).map((path) => [path.slice(work.length), digest(readFileSync(path))]))
  }

  /** No disk is damaged, and nothing half done is in the library. */
  function expectSound(): void {
    checkSound(join(files, 'disk.qcow2'), true)
    const hidden = [join(home, 'machines'), join(home, 'trash')].flatMap((folder) => readdirSync(folder)).filter((name) => name.startsWith('.'))
    expect(hidden).toEqual([])
  }

  async function after(name: string, killAt?: number): Promise<{ seen: View; steps: number }> {
    const [operation, params] = OPERATIONS[name]
    await reset()
    const done = await killable.perform(home, { name: operation, params: filled(params), ...(killAt !== undefined && { killAt }) })
    await close()
    return { seen: await view(), steps: done?.steps ?? 0 }
  }

  it.each(Object.keys(OPERATIONS))('%s: killed on the way', async (name) => {
    const { seen: done, steps } = await after(name)
    await reset()
    const before = await view()
    expect(steps, 'it writes something').toBeGreaterThan(0)
    const isExport = name.startsWith('export')
    const kills = steps <= FEW ? steps : KILLS
    for (let i = 0; i < kills; i++) {
      const { seen } = await after(name, Math.min(steps - 1, Math.floor((steps * i) / (kills - 1))))
      expect(isExport ? [before, listed(done)] : [before, done]).toContainEqual(isExport ? listed(seen) : seen)
      if (!name.startsWith('rebase') && name !== 'repair') expect(readdirSync(files)).toEqual(expect.arrayContaining(['made.part', 'made.writing']))
      // Nothing half written is left at the next start, and nothing else is taken for it.
      expect(readdirSync(files).filter((file) => /\.(?:writing|compacting)$/.test(file))).toEqual(['made.writing'])
      expectSound()
    }
    // Whatever was left, it can be done now.
    const [operation, params] = OPERATIONS[name]
    const again = await call(operation, JSON.parse(filled(params)) as never).then(() => 'done', (error: { code: string }) => error.code)
    expect(['done', 'name-taken', 'not-found', 'wrong-state', 'invalid-argument']).toContain(again)
  })

  it.each(Object.keys(OPERATIONS).flatMap((name) => (Object.keys(HOST_FAULTS) as (keyof typeof HOST_FAULTS)[]).map((fault) => [name, fault] as const)))('%s: %s', async (name, faultName) => {
    const [operation, params] = OPERATIONS[name]
    const fault = HOST_FAULTS[faultName]
    await reset()
    let before: View | undefined
    let outcome = ''
    await during(fault, IN_LIBRARY.includes(name) ? home : files, async () => {
      outcome = await call(operation, JSON.parse(filled(params)) as never).then(() => 'done', (error: { code: string }) => error.code)
      if (outcome !== 'done') expect(await view()).toEqual(before)
    }, async () => {
      before = await view()
    }, async () => {
      // The file system is a small one of its own: what was done there is looked at there.
      if (outcome === 'done') expect(await view()).not.toEqual(before)
      await close()
    })
    const mayBeDone = faultName === 'the disk full' ? WITHOUT_ROOM.includes(name) : IN_PLACE.includes(name) && process.getuid?.() !== 0
    if (mayBeDone) expect(['done', fault.code]).toContain(outcome)
    else expect(outcome).toBe(fault.code)
  })

  it.each(Object.entries(NEEDS).flatMap(([name, file]) => Object.keys(DAMAGES).map((kind) => [name, file, kind] as const)))('%s: %s damaged, %s', async (name, file, kind) => {
    const [operation, params] = OPERATIONS[name]
    await reset()
    const path = join(files, file)
    writeFileSync(path, DAMAGES[kind](readFileSync(path)))
    const before = bytesOfAll()
    const outcome = await call(operation, JSON.parse(filled(params)) as never).then(() => ({ code: 'done', message: '' }), (error: { code: string; message: string }) => error)
    await close()
    const isDone = kind === 'cut off in the middle' && WITHOUT_DATA.includes(name)
    if (isDone) {
      // It was done, to nothing but what it was to be done to.
      expect(outcome.code).toBe('done')
      expect(bytesOfAll()).toMatchObject(name === 'rebase' ? { ...before, '/files/over.qcow2': expect.any(String) as string } : before)
      return
    }
    expect(['bad-disk', 'bad-archive', 'unsupported']).toContain(outcome.code)
    expect(outcome.message).toContain(path)
    expect(bytesOfAll()).toEqual(before)
  })
})

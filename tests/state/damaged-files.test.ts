/**
 * Files of a library that are damaged: whoever needs one hears which and what is wrong with it, nothing else is lost, and a machine
 * whose saved state is of no use can be started without it.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish, type Said } from '../../src/preload/contract'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { decodeHeader, MAX_HEADER_BYTES } from '../../src/main/host/state-header'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

/** What becomes of the file. */
const DAMAGES: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'its first bytes changed': (bytes) => Buffer.concat([Buffer.from(bytes.subarray(0, 8).map((byte) => byte ^ 0xff)), bytes.subarray(8)]),
  'cut off in the middle': (bytes) => bytes.subarray(0, bytes.length >> 1),
  empty: () => Buffer.alloc(0),
}
const kinds = Object.keys(DAMAGES)

interface Refusal { readonly code: string; readonly message: string }

const filesBelow = (dir: string): string[] => readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
  const path = join(dir, entry.name)
  // Logs and caches are nobody's state.
  if (entry.isDirectory()) return ['logs', 'cache'].includes(entry.name) ? [] : filesBelow(path)
  return entry.isFile() ? [path] : []
})

describe('damaged files', () => {
  let rig: ManagerRig
  let ids: { id: string; snapshot: string; template: string; linked: string; other: string }
  let archive: string
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)

  beforeAll(async () => {
    rig = new ManagerRig(buildVmHostWithInterpreter(), 1)
    await rig.open()
    const { id } = await rig.create({ name: 'machine' })
    const disk = rig.machineFolder(id, 'disk.qcow2')
    await createQcow2(disk, { sizeBytes: 1 << 20 })
    await call('machine.update', { id, settings: { disks: [{ path: disk, format: 'qcow2', readOnly: false }] } })
    await call('console.open', { id, port: 'ttyS0' })
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
    const { id: snapshot } = await call('snapshot.take', { id, name: 'snapshot' })
    const { id: template } = await call('template.create', { id, name: 'template' })
    await call('machine.suspend', { id })
    const { id: linked } = await call('machine.create', { settings: { name: 'linked' }, template })
    const { id: other } = await rig.create({ name: 'other' })
    archive = join(rig.home, 'machine.nestbox')
    await call('machine.export', { id, path: archive })
    ids = { id, snapshot, template, linked, other }
    await rig.manager.shutdown()
    execFileSync('cp', ['-a', rig.home, `${rig.home}.pristine`])
  })
  afterAll(async () => {
    await rig.close()
    rmSync(`${rig.home}.pristine`, { recursive: true, force: true })
  })
  beforeEach(async () => {
    await rig.manager.shutdown()
    for (const name of ['machines', 'cache', 'machine.nestbox']) rmSync(join(rig.home, name), { recursive: true, force: true })
    for (const name of ['machines', 'cache', 'machine.nestbox']) execFileSync('cp', ['-a', join(`${rig.home}.pristine`, name), rig.home])
  })

  /** Not in place: a second name of the file would be damaged too. */
  function damage(path: string, kind: string): void {
    const bytes = DAMAGES[kind](readFileSync(path))
    rmSync(path)
    writeFileSync(path, bytes)
  }

  /** The first byte behind the header: of the first piece of memory. */
  function changeMemory(path: string): void {
    const bytes = readFileSync(path)
    bytes[decodeHeader(path, bytes.subarray(0, MAX_HEADER_BYTES)).bytes] ^= 0xff
    rmSync(path)
    writeFileSync(path, bytes)
  }

  const digests = (): Map<string, string> => new Map(filesBelow(join(rig.home, 'machines')).map((path) => [path, createHash('sha256').update(readFileSync(path)).digest('hex')]))

  /** Files that were there before and are not, or are not the same. */
  function changed(before: Map<string, string>): string[] {
    const now = digests()
    return [...before].filter(([path, digest]) => now.get(path) !== digest).map(([path]) => path)
  }

  const refusal = (work: Promise<unknown>): Promise<Refusal> => work.then(() => ({ code: 'none', message: 'it was done' }), (error: Refusal) => error)

  async function expectOtherRuns(): Promise<void> {
    await call('machine.start', { id: ids.other })
    await call('machine.forceStop', { id: ids.other })
  }

  it.each(kinds)('machine.json %s: the machine is shown as damaged with the file named, and its files are kept', async (kind) => {
    const path = rig.machineFolder(ids.id, 'machine.json')
    damage(path, kind)
    const [before, bytes] = [digests(), readFileSync(path)]
    await rig.open()
    const { state, problem } = await call('machine.get', { id: ids.id })
    expect(state).toBe('damaged')
    expect(inEnglish(problem as Said)).toContain(rig.machineFolder(ids.id))
    expect(await refusal(call('machine.start', { id: ids.id }))).toMatchObject({ code: 'machine-damaged' })
    // It is kept aside, byte for byte.
    expect(changed(before)).toEqual([path])
    const aside = readdirSync(rig.machineFolder(ids.id)).find((name) => name.startsWith('machine.json.'))
    expect(readFileSync(rig.machineFolder(ids.id, aside ?? '')).equals(bytes)).toBe(true)
    await expectOtherRuns()
  })

  it.each(kinds)('a snapshot.json %s: the tree says so, the snapshot is refused, and can be deleted', async (kind) => {
    const path = rig.machineFolder(ids.id, 'snapshots', ids.snapshot, 'snapshot.json')
    damage(path, kind)
    const before = digests()
    await rig.open()
    const tree = await call('snapshot.list', { id: ids.id })
    expect(tree.snapshots).toEqual([])
    expect(tree.damaged?.map(({ id, problem }) => [id, inEnglish(problem).includes(path)])).toEqual([[ids.snapshot, true]])
    const at = { id: ids.id, snapshotId: ids.snapshot }
    for (const work of [() => call('snapshot.restore', at), () => call('machine.clone', at), () => call('snapshot.change', { ...at, name: 'n' })]) {
      expect(await refusal(work())).toMatchObject({ code: 'machine-damaged', message: expect.stringContaining(path) as string })
    }
    expect(changed(before)).toEqual([])
    await call('machine.start', { id: ids.id })
    await call('machine.forceStop', { id: ids.id })
    await call('snapshot.delete', { id: ids.id, snapshotId: ids.snapshot })
    expect(await call('snapshot.list', { id: ids.id })).toEqual({ current: null, snapshots: [] })
    expect(existsSync(join(path, '..'))).toBe(false)
  })

  it.each(kinds)('a saved state %s: it is refused with file and place; the machine starts without it', async (kind) => {
    const path = rig.machineFolder(ids.id, 'saved', 'state.nbs')
    damage(path, kind)
    const before = digests()
    await rig.open()
    expect(await refusal(call('machine.start', { id: ids.id }))).toMatchObject({ code: 'state-damaged', message: expect.stringContaining(path) as string })
    expect((await refusal(call('machine.start', { id: ids.id }))).message).toContain('start without the saved state')
    expect(changed(before)).toEqual([])
    expect(await rig.stateOf(ids.id)).toBe('saved')
    await call('machine.start', { id: ids.id, fresh: true })
    await call('machine.forceStop', { id: ids.id })
  })

  it.each(kinds)("a file that a state builds on %s: the state is refused, and says that it is not its own file's fault", async (kind) => {
    const [file] = readdirSync(rig.machineFolder(ids.id, 'memory'))
    const path = rig.machineFolder(ids.id, 'memory', file)
    damage(path, kind)
    const before = digests()
    await rig.open()
    expect(await refusal(call('machine.start', { id: ids.id }))).toMatchObject({ code: 'state-damaged', message: expect.stringContaining(path) as string })
    expect(changed(before)).toEqual([])
    await call('machine.start', { id: ids.id, fresh: true })
    await call('machine.forceStop', { id: ids.id })
  })

  /** The machine runs, and its guest has heard one byte more than the saved state. */
  async function running(): Promise<void> {
    await rig.open()
    await call('console.open', { id: ids.id, port: 'ttyS0' })
    await call('machine.start', { id: ids.id })
    await rig.type(ids.id, 'Bb')
    await rig.until('all of its memory', () => !existsSync(rig.machineFolder(ids.id, 'saved', 'state.nbs.used')))
  }

  it.each(kinds)("a snapshot's disk %s: going back is refused with the file named, and the machine runs on", async (kind) => {
    const path = rig.machineFolder(ids.id, 'snapshots', ids.snapshot, 'disk0.img')
    damage(path, kind)
    await running()
    const before = digests()
    for (const keepCurrent of [true, false]) {
      expect(await refusal(call('snapshot.restore', { id: ids.id, snapshotId: ids.snapshot, keepCurrent, start: true }))).toMatchObject({ code: 'bad-disk', message: expect.stringContaining(path) as string })
    }
    expect(changed(before)).toEqual([])
    expect((await call('snapshot.list', { id: ids.id })).snapshots).toHaveLength(1)
    await rig.type(ids.id, 'Cc')
    await call('machine.forceStop', { id: ids.id })
  })

  it.each([...kinds, 'a byte of its memory changed'])("a snapshot's state %s: going back is refused with the place named, and the machine runs on", async (kind) => {
    const path = rig.machineFolder(ids.id, 'snapshots', ids.snapshot, 'state.nbs')
    const isMemory = !kinds.includes(kind)
    if (isMemory) changeMemory(path)
    else damage(path, kind)
    await running()
    const before = digests()
    const what = { id: ids.id, snapshotId: ids.snapshot }
    // Its memory is looked at only where nothing else would be left: otherwise it is when the guest needs it, and the present is kept.
    for (const how of [...(isMemory ? [] : [{ start: true }]), { keepCurrent: false }, { keepCurrent: false, start: true }]) {
      const { code, message } = await refusal(call('snapshot.restore', { ...what, ...how }))
      expect([code, message]).toEqual(['state-damaged', expect.stringMatching(/state\.nbs.*Nothing was changed/)])
      expect(await rig.stateOf(ids.id)).toBe('running')
    }
    expect(changed(before)).toEqual([])
    expect(filesBelow(rig.machineFolder(ids.id)).filter((file) => !before.has(file))).toEqual([])
    await rig.type(ids.id, 'Cc')
    await call('snapshot.restore', { ...what, keepCurrent: false, withState: false })
    expect(await rig.stateOf(ids.id)).toBe('stopped')
    await call('machine.start', { id: ids.id })
    await call('machine.forceStop', { id: ids.id })
  })

  it('what a suspended machine was is kept where the snapshot it would be lost for is damaged', async () => {
    damage(rig.machineFolder(ids.id, 'snapshots', ids.snapshot, 'state.nbs'), 'empty')
    await rig.open()
    expect(await refusal(call('snapshot.restore', { id: ids.id, snapshotId: ids.snapshot, keepCurrent: false }))).toMatchObject({ code: 'state-damaged' })
    expect(await rig.stateOf(ids.id)).toBe('saved')
    await call('console.open', { id: ids.id, port: 'ttyS0' })
    await call('machine.start', { id: ids.id })
    await rig.type(ids.id, 'Bb')
    await call('machine.forceStop', { id: ids.id })
  })

  it.each(kinds)('the state that a running machine was last stored in %s: what is taken of it now stands alone', async (kind) => {
    await running()
    const { id: snapshotId } = await call('snapshot.take', { id: ids.id, name: 'base' })
    damage(rig.machineFolder(ids.id, 'snapshots', snapshotId, 'state.nbs'), kind)
    const { id: taken } = await call('snapshot.take', { id: ids.id, name: 'taken' })
    const fork = await call('machine.fork', { id: ids.id, name: 'fork' })
    expect(fork.state).toBe('running')
    await call('machine.forceStop', { id: fork.id })
    await call('machine.suspend', { id: ids.id })
    await call('machine.start', { id: ids.id })
    await rig.type(ids.id, 'Cc')
    await call('snapshot.restore', { id: ids.id, snapshotId: taken, keepCurrent: false, start: true })
    await rig.type(ids.id, 'Cc')
    await call('machine.forceStop', { id: ids.id })
  })

  it.each(kinds)('a qcow2 header %s: the start is refused with the file named', async (kind) => {
    const path = rig.machineFolder(ids.id, 'disk.qcow2')
    damage(path, kind)
    const before = digests()
    await rig.open()
    for (const fresh of [false, true]) {
      expect(await refusal(call('machine.start', { id: ids.id, fresh }))).toMatchObject({ code: 'bad-disk', message: expect.stringContaining(path) as string })
    }
    expect(changed(before)).toEqual([])
    expect(await rig.stateOf(ids.id)).toBe('saved')
    // The disk of the snapshot is another file: going back to it mends the machine.
    await call('snapshot.restore', { id: ids.id, snapshotId: ids.snapshot, keepCurrent: false, start: true })
    await call('machine.forceStop', { id: ids.id })
    await expectOtherRuns()
  })

  it.each(kinds)("a template's disk %s: its linked clone is refused with the file named, and new machines as well", async (kind) => {
    const path = rig.machineFolder(ids.template, 'disks', readdirSync(rig.machineFolder(ids.template, 'disks'))[0])
    damage(path, kind)
    const before = digests()
    await rig.open()
    expect(await refusal(call('machine.start', { id: ids.linked }))).toMatchObject({ code: 'bad-disk', message: expect.stringContaining(path) as string })
    expect(await refusal(call('machine.create', { settings: { name: 'new' }, template: ids.template }))).toMatchObject({ code: 'bad-disk', message: expect.stringContaining(path) as string })
    expect(changed(before)).toEqual([])
    expect(readdirSync(join(rig.home, 'machines')).filter((name) => name.startsWith('.'))).toEqual([])
    await expectOtherRuns()
  })

  it.each(kinds)("a template's machine.json %s: it is shown as damaged, and nothing is made from it", async (kind) => {
    damage(rig.machineFolder(ids.template, 'machine.json'), kind)
    await rig.open()
    expect(await rig.stateOf(ids.template)).toBe('damaged')
    expect(await refusal(call('machine.create', { settings: { name: 'new' }, template: ids.template }))).toMatchObject({ code: 'machine-damaged' })
    // What its clone needs of it is there: the disks.
    await call('machine.start', { id: ids.linked })
    await call('machine.forceStop', { id: ids.linked })
  })

  it.each(kinds)('translations and working sets %s: nobody notices but the next start', async (kind) => {
    const kept = filesBelow(join(rig.home, 'cache', 'translations')).concat(existsSync(join(rig.home, 'cache', 'working-sets')) ? filesBelow(join(rig.home, 'cache', 'working-sets')) : [])
    for (const path of kept) if (statSync(path).size > 64) damage(path, kind)
    await rig.open()
    await call('console.open', { id: ids.id, port: 'ttyS0' })
    await call('machine.start', { id: ids.id })
    await rig.type(ids.id, 'Bb')
    await call('machine.forceStop', { id: ids.id })
  })

  it.each(kinds)('an archive %s: it is refused with the file named, and leaves nothing', async (kind) => {
    damage(archive, kind)
    const before = digests()
    await rig.open()
    expect(await refusal(call('machine.import', { path: archive, name: 'new' }))).toMatchObject({ code: 'bad-archive', message: expect.stringContaining(archive) as string })
    expect(changed(before)).toEqual([])
    expect((await call('machine.list', {})).map(({ name }) => name).sort()).toEqual(['linked', 'machine', 'other', 'template'])
    expect(readdirSync(join(rig.home, 'machines')).filter((name) => name.startsWith('.'))).toEqual([])
  })
})

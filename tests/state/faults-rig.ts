/** A library with a machine that has snapshots of its memory, put back after each test, and operations that are cut off anywhere. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { readStateHeader } from '../../src/main/host/state-header'
import { KillableManager } from '../fixtures/killed-manager'
import { ManagerRig } from './manager-rig'

/** What the machine holds in memory: more than the room that a full disk leaves. */
const FILLED_MIB = 6
const DISK_BYTES = 64 << 10

/** `{id}`, `{first}`, `{second}` and `{template}` in the parameters stand for ids. */
export interface Operation {
  readonly call: string
  readonly params: Record<string, unknown>
  /** The machine runs while it is done. */
  readonly running?: true
}

/** What a person can tell apart of a library: names instead of ids, contents instead of dates. */
export interface View {
  readonly current: string | null
  readonly snapshots: readonly { readonly name: string; readonly kind: string; readonly parent: string | null }[]
  readonly machines: readonly { readonly name: string; readonly state: string; readonly isTemplate: boolean }[]
  /** Whose contents the machine's disk and saved state have: `first`, `second`, `present`, `none`, or `new`. */
  readonly disk: string
  readonly saved: string
}

export class FaultsRig {
  rig!: ManagerRig
  ids!: Readonly<Record<'id' | 'first' | 'second' | 'template', string>>
  private readonly killable: KillableManager
  private contents = new Map<string, string>()

  constructor(private readonly vmHostEntry: string) {
    this.killable = new KillableManager(vmHostEntry, 'names')
  }

  readonly call: ManagerRig['call'] = (name, params) => this.rig.call(name, params)

  get machines(): string {
    return join(this.rig.home, 'machines')
  }

  private get disk(): string {
    return this.rig.machineFolder(this.ids.id, 'disk.img')
  }

  /** Two snapshots, the second built on the first (so that `memory/` has a file), a template that ran, and a saved state. */
  async prepare(): Promise<void> {
    const rig = this.rig = new ManagerRig(this.vmHostEntry, FILLED_MIB)
    await rig.open()
    const { id } = await rig.create()
    const disk = rig.machineFolder(id, 'disk.img')
    const fill = (value: number): void => writeFileSync(disk, Buffer.alloc(DISK_BYTES, value))
    fill(1)
    await this.call('machine.update', { id, settings: { disks: [{ path: disk, format: 'raw', readOnly: false }] } })
    await this.call('console.open', { id, port: 'ttyS0' })
    await this.call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
    const { id: first } = await this.call('snapshot.take', { id, name: 'first' })
    fill(2)
    await rig.type(id, 'Bb')
    const { id: second } = await this.call('snapshot.take', { id, name: 'second' })
    const { id: template } = await this.call('template.create', { id, name: 'template' })
    fill(3)
    await rig.type(id, 'Cc')
    await this.call('machine.suspend', { id })
    this.ids = { id, first, second, template }
    expect(readdirSync(rig.machineFolder(id, 'memory')).length).toBeGreaterThan(0)
    await rig.manager.shutdown()
    this.contents = new Map([
      ...[first, second].map((snapshot, i): [string, string] => [digest(rig.machineFolder(id, 'snapshots', snapshot, 'state.nbs')), ['first', 'second'][i]]),
      [digest(rig.machineFolder(id, 'saved', 'state.nbs')), 'present'],
    ])
    execFileSync('cp', ['-a', this.machines, `${this.machines}.pristine`])
  }

  /** Everything as it was prepared; the manager is closed. */
  async reset(): Promise<void> {
    await this.rig.manager.shutdown()
    rmSync(this.machines, { recursive: true })
    execFileSync('cp', ['-a', `${this.machines}.pristine`, this.machines])
  }

  async close(): Promise<void> {
    await this.rig.close()
    this.killable.close()
  }

  filled(params: object): string {
    return JSON.stringify(params).replaceAll(/\{(\w+)\}/g, (_, name: keyof FaultsRig['ids']) => this.ids[name])
  }

  /** As a manager of its own does it. @param killAt how many changes of files it comes to; all unless given */
  perform({ call: name, params, running }: Operation, killAt?: number): Promise<{ steps: number; ms: number } | undefined> {
    return this.killable.perform(this.rig.home, { name, params: this.filled(params), ...(running && { start: this.ids.id }), ...(killAt !== undefined && { killAt }) })
  }

  async reopen(): Promise<void> {
    // The lock of a killed process would count as held until it is old.
    rmSync(join(this.rig.home, 'manager.lock'), { recursive: true, force: true })
    await this.rig.open()
  }

  async view(): Promise<View> {
    const { current, snapshots } = await this.call('snapshot.list', { id: this.ids.id })
    const nameOf = (id: string | null): string | null => snapshots.find((entry) => entry.id === id)?.name ?? null
    const saved = this.rig.machineFolder(this.ids.id, 'saved', 'state.nbs')
    return {
      current: nameOf(current),
      snapshots: snapshots.map(({ name, kind, parent }) => ({ name, kind, parent: nameOf(parent) })),
      machines: (await this.call('machine.list', {})).map(({ name, state, isTemplate = false }) => ({ name, state, isTemplate })),
      disk: ['first', 'second', 'present'][readFileSync(this.disk)[0] - 1],
      saved: existsSync(saved) ? this.contents.get(digest(saved)) ?? 'new' : 'none',
    }
  }

  /** The machine's memory is still coming in from the state it was continued from. */
  get hasUsedState(): boolean {
    return existsSync(this.rig.machineFolder(this.ids.id, 'saved', 'state.nbs.used'))
  }

  /** Digests of the files of the machine that no operation concerns. */
  others(): Record<string, string> {
    return Object.fromEntries(filesBelow(this.rig.machineFolder(this.ids.template)).map((path) => [path, digest(path)]))
  }

  /** Nothing that an operation left lying about, and of the memory exactly what the states build on. */
  async expectTidy(): Promise<void> {
    const all = filesBelow(this.machines).map((path) => path.slice(this.machines.length))
    expect(all.filter((path) => /\.tmp|\.new-|\.old-|nestbox-restored|switch\.json|\.used/.test(path))).toEqual([])
    for (const { id } of await this.call('machine.list', {})) {
      const folder = this.rig.machineFolder(id)
      const states = filesBelow(folder).filter((path) => path.endsWith('/state.nbs'))
      const needed = new Set((await Promise.all(states.map(readStateHeader))).flatMap(({ bases }) => bases))
      const memory = join(folder, 'memory')
      expect(existsSync(memory) ? readdirSync(memory).sort() : []).toEqual([...needed].map((base) => `${base}.nbs`).sort())
    }
  }

  /** Every point that the tree has can be gone back to, and the guest remembers there what it knew. */
  async expectUsable(): Promise<void> {
    const { id } = this.ids
    const { snapshots } = await this.call('snapshot.list', { id })
    const answers: Record<string, string> = { first: 'Bb', second: 'Cc', renamed: 'Cc' }
    expect(snapshots.map(({ name }) => name)).toEqual(expect.arrayContaining([expect.stringMatching(/second|renamed/)]))
    for (const { id: snapshotId, name } of snapshots.filter((entry) => entry.name in answers)) {
      await this.call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
      await this.call('console.open', { id, port: 'ttyS0' })
      await this.rig.type(id, answers[name])
      await this.call('machine.forceStop', { id })
    }
  }
}

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Logs are nobody's state. */
const filesBelow = (dir: string): string[] => readdirSync(dir, { withFileTypes: true }).flatMap((entry) =>
  (entry.isDirectory() ? (entry.name === 'logs' ? [] : filesBelow(join(dir, entry.name))) : [join(dir, entry.name)]))

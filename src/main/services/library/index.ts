/** The machines on disk: one folder each under `<home>/machines`, deleted ones under `<home>/trash`. */
import { randomUUID } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { machineId, phrase, type MachineSettings } from '../../../preload/contract'
import { ServiceError } from '../errors'
import { makeFolder, moveDurably, removeTemporaries } from '../files'
import type { MachineRecord, Stop } from '../types'
import { DEFAULT_SETTINGS } from './defaults'
import { readMachineFolder, requireSound, writeMachineFile } from './machine-file'
import { freeName, sameName } from './names'
import { Trash, type TrashedMachine } from './trash'

/** Folders being made: moved to their name when complete, removed at the next start otherwise. */
const NEW_PREFIX = '.new-'

export type NewSettings = Partial<MachineSettings> & Pick<MachineSettings, 'name'>

/** `like`: that, or the first free one like it; `within`: as what is made says, once that is known, or one like it. */
export type NewName = { readonly exactly: string } | { readonly like: string } | { readonly within: true }

export interface NewFolder {
  /** UUID. */
  readonly id: string
  /** Where files go now. */
  readonly dir: string
  /** Where they will be. */
  readonly finalDir: string
}

export type NewMachine = { readonly settings: NewSettings } & Pick<MachineRecord, 'isTemplate' | 'origin' | 'base'>

export class Library {
  private readonly records = new Map<string, MachineRecord>()
  private readonly listeners = new Set<(id: string) => void>()
  /** Names of machines that are being made. */
  private readonly claimed = new Set<string>()
  private readonly claimListeners = new Set<(names: string[]) => void>()
  private readonly machinesDir: string
  readonly trash: Trash
  /** Changes happen one after the other: a name is checked and taken without another change between. */
  private queue: Promise<unknown> = Promise.resolve()

  private constructor(readonly home: string) {
    this.machinesDir = join(home, 'machines')
    this.trash = new Trash(join(home, 'trash'))
  }

  /** Reads the library. Whoever opens it must hold its lock. @throws ServiceError library-read-only, disk-full */
  static async open(home: string): Promise<Library> {
    const library = new Library(home)
    await makeFolder(library.machinesDir)
    await library.trash.open()
    await library.load()
    return library
  }

  private async load(): Promise<void> {
    for (const entry of await readdir(this.machinesDir, { withFileTypes: true })) {
      const dir = join(this.machinesDir, entry.name)
      if (entry.name.startsWith(NEW_PREFIX)) {
        await rm(dir, { recursive: true, force: true })
        continue
      }
      if (!entry.isDirectory() || !machineId.safeParse(entry.name).success) continue
      const record = await readMachineFolder(dir, entry.name)
      if (!record) continue
      await removeTemporaries(dir).catch(() => undefined)
      this.records.set(record.id, record)
    }
  }

  get(id: string): MachineRecord | undefined {
    return this.records.get(id)
  }

  /** @throws ServiceError not-found */
  require(id: string): MachineRecord {
    const record = this.records.get(id)
    if (!record) throw new ServiceError('not-found', phrase('machine.none', { id }), { id })
    return record
  }

  /** By name. */
  list(): MachineRecord[] {
    return [...this.records.values()].sort((a, b) => a.settings.name.localeCompare(b.settings.name, 'en', { numeric: true }))
  }

  onDidChange(listener: (id: string) => void): Stop {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private changed(id: string): void {
    for (const listener of this.listeners) listener(id)
  }

  /** Names that nobody else can take, of machines that are being made. */
  get claimedNames(): string[] {
    return [...this.claimed]
  }

  onDidClaim(listener: (names: string[]) => void): Stop {
    this.claimListeners.add(listener)
    return () => this.claimListeners.delete(listener)
  }

  private claimsChanged(): void {
    for (const listener of this.claimListeners) listener(this.claimedNames)
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.queue.then(work)
    this.queue = result.catch(() => undefined)
    return result
  }

  /** @throws ServiceError name-taken */
  checkName(name: string, exceptId?: string): void {
    const other = this.list().find((record) => record.id !== exceptId && sameName(record.settings.name, name))
    if (other) throw new ServiceError('name-taken', phrase('machine.nameTaken', { name: other.settings.name }), { name: other.settings.name })
    const claim = [...this.claimed].find((taken) => sameName(taken, name))
    if (claim !== undefined) throw new ServiceError('name-taken', phrase('machine.nameClaimed', { name: claim }), { name: claim })
  }

  /** @param fill puts files into the machine's folder before it appears, and may change settings; gets the folder now and later */
  create(settings: NewSettings, fill?: (dir: string, finalDir: string) => Promise<Partial<MachineSettings>>): Promise<MachineRecord> {
    return this.make({ exactly: settings.name }, async ({ dir, finalDir }) => ({ settings: { ...settings, ...(await fill?.(dir, finalDir)) } }))
  }

  /** The name, which nobody else can take from now on. */
  private claim(name: NewName): Promise<string | undefined> {
    return this.inTurn(async () => {
      if ('within' in name) return undefined
      const wanted = 'exactly' in name ? name.exactly : freeName(name.like, this.names())
      this.checkName(wanted)
      this.claimed.add(wanted)
      this.claimsChanged()
      return wanted
    })
  }

  private names(): string[] {
    return [...this.list().map(({ settings }) => settings.name), ...this.claimed]
  }

  /**
   * A machine whose files take time: other changes go on meanwhile, its name is taken from the start.
   * @param fill what it throws leaves nothing behind
   * @throws ServiceError name-taken, disk-full, library-read-only
   */
  async make(name: NewName, fill: (folder: NewFolder) => Promise<NewMachine>): Promise<MachineRecord> {
    const claimed = await this.claim(name)
    const id = randomUUID()
    const finalDir = join(this.machinesDir, id)
    const dir = join(this.machinesDir, NEW_PREFIX + id)
    try {
      await makeFolder(dir)
      const made = await fill({ id, dir, finalDir })
      return await this.inTurn(async () => {
        const { settings, ...about } = made
        const given = claimed ?? freeName(settings.name, this.names())
        const record: MachineRecord = { id, dir: finalDir, createdAt: new Date().toISOString(), ...about, settings: { ...DEFAULT_SETTINGS, ...settings, name: given } }
        await writeMachineFile(dir, record)
        await moveDurably(dir, finalDir)
        this.records.set(id, record)
        this.changed(id)
        return record
      })
    } catch (error) {
      await rm(dir, { recursive: true, force: true }).catch(() => undefined)
      throw error
    } finally {
      if (claimed !== undefined && this.claimed.delete(claimed)) this.claimsChanged()
    }
  }

  /** @throws ServiceError not-found, machine-damaged, name-taken, disk-full, library-read-only */
  update(id: string, changes: Partial<MachineSettings>, about: Pick<MachineRecord, 'generationId'> = {}): Promise<MachineRecord> {
    return this.inTurn(async () => {
      const record = this.require(id)
      requireSound(record)
      if (changes.name !== undefined) this.checkName(changes.name, id)
      return this.rewrite({ ...record, ...about, settings: { ...record.settings, ...changes } })
    })
  }

  private async rewrite(record: MachineRecord): Promise<MachineRecord> {
    await writeMachineFile(record.dir, record)
    this.records.set(record.id, record)
    this.changed(record.id)
    return record
  }

  /** @throws ServiceError not-found, machine-damaged, disk-full, library-read-only */
  setTemplate(id: string, isTemplate: boolean): Promise<MachineRecord> {
    return this.inTurn(async () => {
      const record = this.require(id)
      requireSound(record)
      return this.rewrite({ ...record, isTemplate })
    })
  }

  /** Moves the machine's folder to the trash: one rename, so that a crash leaves it in one place or the other. */
  delete(id: string): Promise<TrashedMachine> {
    return this.inTurn(async () => {
      const record = this.require(id)
      const item = await this.trash.put(record)
      this.records.delete(id)
      this.changed(id)
      return item
    })
  }

  /** Under its old name or the first free one like it. @throws ServiceError not-found */
  restore(trashId: string): Promise<MachineRecord> {
    return this.inTurn(async () => {
      const trashed = this.trash.require(trashId)
      const name = freeName(trashed.record.settings.name, this.names())
      const dir = join(this.machinesDir, trashed.record.id)
      const record = { ...trashed.record, dir, settings: { ...trashed.record.settings, name } }
      // The new name is written before the folder moves: at no moment two machines have one name.
      if (!record.damage && name !== trashed.record.settings.name) await writeMachineFile(trashed.record.dir, record)
      await this.trash.take(trashId, dir)
      this.records.set(record.id, record)
      this.changed(record.id)
      return record
    })
  }

  purge(trashId: string): Promise<void> {
    return this.inTurn(() => this.trash.purge(trashId))
  }
}

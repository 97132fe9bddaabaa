/** Deleted machines: their whole folders, until they are restored or purged. */
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { machineId, phrase, type TrashItem } from '../../../preload/contract'
import { ServiceError, writeError } from '../errors'
import { folderSize, makeFolder, moveDurably, writeAtomic } from '../files'
import type { MachineRecord } from '../types'
import { readMachineFolder } from './machine-file'

const DELETED_FILE = 'deleted.json'
/** Being removed for good: finished at the next start where a crash came between. */
const PURGE_PREFIX = '.purge-'

const deletedFile = z.object({ deletedAt: z.string(), sizeBytes: z.number() })

export interface TrashedMachine {
  readonly item: TrashItem
  /** `dir` is the folder in the trash. */
  readonly record: MachineRecord
}

export class Trash {
  private readonly machines = new Map<string, TrashedMachine>()

  constructor(private readonly dir: string) {}

  async open(): Promise<void> {
    await makeFolder(this.dir)
    for (const entry of await readdir(this.dir, { withFileTypes: true })) {
      const dir = join(this.dir, entry.name)
      if (entry.name.startsWith(PURGE_PREFIX)) await rm(dir, { recursive: true, force: true })
      else if (entry.isDirectory() && machineId.safeParse(entry.name).success) await this.load(entry.name, dir)
    }
  }

  private async load(id: string, dir: string): Promise<void> {
    const record = await readMachineFolder(dir, id)
    if (!record) return
    // Without the note (a crash right after the move) the folder itself knows enough.
    const note = await readFile(join(dir, DELETED_FILE), 'utf8').then((text) => deletedFile.parse(JSON.parse(text))).catch(async () => ({
      deletedAt: (await stat(dir)).mtime.toISOString(), sizeBytes: await folderSize(dir),
    }))
    this.machines.set(id, { record, item: { id, machineId: id, name: record.settings.name, ...note } })
  }

  /** Newest first. */
  list(): TrashItem[] {
    return [...this.machines.values()].map(({ item }) => item).sort((a, b) => b.deletedAt.localeCompare(a.deletedAt))
  }

  records(): MachineRecord[] {
    return [...this.machines.values()].map(({ record }) => record)
  }

  /** @throws ServiceError not-found */
  require(id: string): TrashedMachine {
    const machine = this.machines.get(id)
    if (!machine) throw new ServiceError('not-found', phrase('trash.none', { id }), { id })
    return machine
  }

  async put(record: MachineRecord): Promise<TrashedMachine> {
    const dir = join(this.dir, record.id)
    const note = { deletedAt: new Date().toISOString(), sizeBytes: await folderSize(record.dir) }
    await moveDurably(record.dir, dir)
    // The machine is in the trash already; a full disk must not undo that.
    await writeAtomic(join(dir, DELETED_FILE), `${JSON.stringify(note)}\n`).catch(() => undefined)
    const trashed = { record: { ...record, dir }, item: { id: record.id, machineId: record.id, name: record.settings.name, ...note } }
    this.machines.set(record.id, trashed)
    return trashed
  }

  /** Moves the folder out of the trash to `target`. */
  async take(id: string, target: string): Promise<void> {
    const { record } = this.require(id)
    await moveDurably(record.dir, target)
    this.machines.delete(id)
    await rm(join(target, DELETED_FILE), { force: true }).catch(() => undefined)
  }

  async purge(id: string): Promise<void> {
    const { record } = this.require(id)
    const going = join(this.dir, PURGE_PREFIX + id)
    await moveDurably(record.dir, going)
    this.machines.delete(id)
    await rm(going, { recursive: true, force: true }).catch((error: unknown) => {
      throw writeError(error, going)
    })
  }
}

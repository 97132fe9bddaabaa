/**
 * The snapshots of one machine on disk: `<machine>/snapshots/<id>/` with `snapshot.json`, the state of a machine that ran and
 * its disks; and `tree.json` with the one the present descends from. Folders appear and vanish by one rename.
 */
import { existsSync } from 'node:fs'
import { readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { machineSettings, phrase } from '../../../preload/contract'
import { ServiceError, writeError } from '../errors'
import { folderSize, makeFolder, moveDurably, removeTemporaries, syncFolder, writeAtomic } from '../files'

const NEW_PREFIX = '.new-'
const OLD_PREFIX = '.old-'
export const RECORD_FILE = 'snapshot.json'
const TREE = 'tree.json'
export const STATE_FILE = 'state.nbs'
/** What the console showed. */
export const SCREEN_FILE = 'screen.txt'

export const snapshotRecord = z.object({
  version: z.literal(1),
  id: z.string().uuid(),
  name: z.string(),
  notes: z.string(),
  /** ISO 8601. */
  createdAt: z.string(),
  parent: z.string().uuid().nullable(),
  /** `undo`: what was there before a snapshot was restored. */
  kind: z.enum(['user', 'undo']),
  /** With memory and devices: of a machine that ran or was suspended. */
  hasState: z.boolean(),
  settings: machineSettings,
  /** Writable disks: where the image belongs, and its copy in the snapshot's folder. */
  disks: z.array(z.object({ path: z.string(), file: z.string().regex(/^[\w.-]+$/) })),
})
export type SnapshotRecord = z.infer<typeof snapshotRecord>

const tree = z.object({ version: z.literal(1), current: z.string().uuid().nullable() })

export class SnapshotStore {
  readonly folder: string

  /** @param dir the machine's folder */
  constructor(dir: string) {
    this.folder = join(dir, 'snapshots')
  }

  pathOf(id: string, file = ''): string {
    return join(this.folder, id, file)
  }

  private async readRecord(id: string): Promise<SnapshotRecord | undefined> {
    try {
      return snapshotRecord.parse(JSON.parse(await readFile(this.pathOf(id, RECORD_FILE), 'utf8')))
    } catch {
      // A folder without a usable record is shown nowhere and touched by nobody: its disks can still be rescued by hand.
      return undefined
    }
  }

  /** Oldest first. A parent that is gone counts as none. */
  async list(): Promise<SnapshotRecord[]> {
    const names = await readdir(this.folder).catch(() => [])
    const found = (await Promise.all(names.filter((name) => !name.startsWith('.')).map((name) => this.readRecord(name))))
      .filter((entry) => entry !== undefined)
    const known = new Set(found.map(({ id }) => id))
    return found.map((entry) => (entry.parent !== null && !known.has(entry.parent) ? { ...entry, parent: null } : entry))
      .sort((a, b) => a.createdAt.localeCompare(b.createdAt))
  }

  /** @throws ServiceError not-found */
  async require(id: string): Promise<SnapshotRecord> {
    const found = (await this.list()).find((entry) => entry.id === id)
    if (!found) throw new ServiceError('not-found', phrase('snapshot.none', { id }), { id })
    return found
  }

  /** The snapshot the present descends from. */
  async current(): Promise<string | null> {
    try {
      const { current } = tree.parse(JSON.parse(await readFile(join(this.folder, TREE), 'utf8')))
      return current !== null && existsSync(this.pathOf(current, RECORD_FILE)) ? current : null
    } catch {
      return null
    }
  }

  async setCurrent(id: string | null): Promise<void> {
    await makeFolder(this.folder)
    await writeAtomic(join(this.folder, TREE), `${JSON.stringify({ version: 1, current: id })}\n`)
  }

  async size(id: string): Promise<number> {
    return folderSize(this.pathOf(id))
  }

  /** '' where it is not known. */
  async screen(id: string): Promise<string> {
    return readFile(this.pathOf(id, SCREEN_FILE), 'utf8').catch(() => '')
  }

  /** Fills a folder aside, then lets it appear. */
  async add(entry: SnapshotRecord, screen: string, fill: (folder: string) => Promise<void>): Promise<SnapshotRecord> {
    const making = join(this.folder, NEW_PREFIX + entry.id)
    try {
      await makeFolder(making)
      await fill(making)
      if (screen !== '') await writeAtomic(join(making, SCREEN_FILE), screen)
      await writeAtomic(join(making, RECORD_FILE), `${JSON.stringify(entry, null, 2)}\n`)
      await syncFolder(making)
      await moveDurably(making, this.pathOf(entry.id))
      return entry
    } catch (error) {
      await rm(making, { recursive: true, force: true }).catch(() => undefined)
      throw error
    }
  }

  /** @throws ServiceError disk-full, library-read-only */
  async write(entry: SnapshotRecord): Promise<void> {
    await writeAtomic(this.pathOf(entry.id, RECORD_FILE), `${JSON.stringify(entry, null, 2)}\n`)
  }

  /** Children become its parent's: first they, then the folder goes, so that a crash leaves a tree. */
  async remove(entry: SnapshotRecord): Promise<void> {
    for (const child of await this.list()) if (child.parent === entry.id) await this.write({ ...child, parent: entry.parent })
    if (await this.current() === entry.id) await this.setCurrent(entry.parent)
    const old = join(this.folder, OLD_PREFIX + entry.id)
    try {
      await rename(this.pathOf(entry.id), old)
      await syncFolder(this.folder)
    } catch (error) {
      throw writeError(error, this.pathOf(entry.id))
    }
    await rm(old, { recursive: true, force: true }).catch(() => undefined)
  }

  /** Removes what an interrupted operation left. */
  async clean(): Promise<void> {
    const names = await readdir(this.folder).catch(() => [])
    if (names.length > 0) await removeTemporaries(this.folder).catch(() => undefined)
    for (const name of names) {
      if (name.startsWith(NEW_PREFIX) || name.startsWith(OLD_PREFIX)) await rm(join(this.folder, name), { recursive: true, force: true }).catch(() => undefined)
    }
  }
}

/**
 * The snapshots of one machine on disk: `<machine>/snapshots/<id>/` with `snapshot.json`, the state of a machine that ran and
 * its disks; and `tree.json` with the one the present descends from. Folders appear and vanish by one rename, and the tree with
 * them: what names a snapshot that is not there yet, or not there any more, is read as it was before, or as it is without it.
 */
import { existsSync } from 'node:fs'
import { readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { phrase, type DamagedSnapshot } from '../../../preload/contract'
import { ServiceError, writeError } from '../errors'
import { makeFolder, moveDurably, removeTemporaries, syncFolder, writeAtomic } from '../files'
import { RECORD_FILE, SCREEN_FILE, SnapshotRecords, type SnapshotFacts, type SnapshotRecord } from './records'

const NEW_PREFIX = '.new-'
const OLD_PREFIX = '.old-'
const TREE = 'tree.json'
export const STATE_FILE = 'state.nbs'

const tree = z.object({
  version: z.literal(1),
  current: z.string().uuid().nullable(),
  /** Holds until there is a snapshot `current`. */
  before: z.string().uuid().nullable().optional(),
  /** A snapshot that a linked clone is being made over: without a clone it has no purpose. */
  awaitsClone: z.string().uuid().optional(),
})

export class SnapshotStore {
  readonly folder: string

  /** @param dir the machine's folder @param known what was read before */
  constructor(dir: string, private readonly known = new SnapshotRecords()) {
    this.folder = join(dir, 'snapshots')
  }

  pathOf(id: string, file = ''): string {
    return join(this.folder, id, file)
  }

  /** @throws ServiceError machine-damaged */
  private readRecord(folder: string): Promise<SnapshotRecord> {
    return this.known.read(this.pathOf(folder))
  }

  private async foldersOf(isWanted: (name: string) => boolean): Promise<string[]> {
    const entries = await readdir(this.folder, { withFileTypes: true }).catch(() => [])
    return entries.filter((entry) => entry.isDirectory() && isWanted(entry.name)).map(({ name }) => name)
  }

  /** Those that can be used, with the names of their folders. */
  private async records(isWanted: (name: string) => boolean): Promise<[folder: string, entry: SnapshotRecord][]> {
    const names = await this.foldersOf(isWanted)
    const found = await Promise.all(names.map((name) => this.readRecord(name).catch(() => undefined)))
    return names.flatMap((name, i) => (found[i] === undefined ? [] : [[name, found[i]]]))
  }

  /** Nobody touches them unless told to delete them: their disks can still be rescued by hand. */
  async damaged(): Promise<DamagedSnapshot[]> {
    const names = await this.foldersOf((name) => !name.startsWith('.'))
    this.known.forgetAllBut(names.map((name) => this.pathOf(name)))
    const found = await Promise.all(names.map((id) => this.readRecord(id).then(() => [], (error: ServiceError) => [{ id, problem: error.phrase ?? error.message }])))
    return found.flat()
  }

  /** Those whose removal was begun: their children are their parents'. */
  private async removed(): Promise<SnapshotRecord[]> {
    return (await this.records((name) => name.startsWith(OLD_PREFIX))).map(([, entry]) => entry)
  }

  /** Oldest first. A parent that is gone counts as none. */
  async list(): Promise<SnapshotRecord[]> {
    const found = (await this.records((name) => !name.startsWith('.'))).map(([, entry]) => entry)
    const known = new Set(found.map(({ id }) => id))
    const removed = await this.removed()
    return found.map((entry) => ({ ...entry, parent: nearestOf(entry.parent, (id) => known.has(id), removed) }))
      .sort((a, b) => a.createdAt.localeCompare(b.createdAt))
  }

  /** @throws ServiceError not-found, machine-damaged */
  async require(id: string): Promise<SnapshotRecord> {
    const found = (await this.list()).find((entry) => entry.id === id)
    if (found) return found
    if (!(await this.has(id))) throw new ServiceError('not-found', phrase('snapshot.none', { id }), { id })
    return this.readRecord(id)
  }

  /** Also where it is damaged. */
  async has(id: string): Promise<boolean> {
    return !id.startsWith('.') && (await this.foldersOf((name) => name === id)).length > 0
  }

  private async readTree(): Promise<z.infer<typeof tree>> {
    try {
      return tree.parse(JSON.parse(await readFile(join(this.folder, TREE), 'utf8')))
    } catch {
      return { version: 1, current: null }
    }
  }

  /** The snapshot the present descends from. */
  async current(): Promise<string | null> {
    const { current, before } = await this.readTree()
    const isThere = (id: string): boolean => existsSync(this.pathOf(id, RECORD_FILE))
    if (current === null || isThere(current)) return current
    const removed = await this.removed()
    return nearestOf(removed.some(({ id }) => id === current) ? current : before, isThere, removed)
  }

  /** @param before holds until there is a snapshot `id` @param awaitsClone a linked clone is to be made over `id` */
  async setCurrent(id: string | null, before?: string | null, awaitsClone = false): Promise<void> {
    await makeFolder(this.folder)
    const next = { version: 1, current: id, ...(before !== undefined && { before }), ...(awaitsClone && { awaitsClone: id }) }
    await writeAtomic(join(this.folder, TREE), `${JSON.stringify(next)}\n`)
  }

  /** The snapshot that was taken for a linked clone has it, or goes, where the clone never came to be. */
  async settleAwaited(hasClone: (snapshotId: string) => boolean): Promise<void> {
    const { awaitsClone } = await this.readTree()
    if (awaitsClone === undefined) return
    if ((await this.has(awaitsClone)) && !hasClone(awaitsClone)) await this.remove(awaitsClone)
    else await this.setCurrent(await this.current())
  }

  /** @throws ServiceError machine-damaged */
  facts(id: string): Promise<SnapshotFacts> {
    return this.known.facts(this.pathOf(id))
  }

  /** Where a snapshot is filled. It appears when the folder gets the name `pathOf`. */
  asideOf(id: string): string {
    return join(this.folder, NEW_PREFIX + id)
  }

  /**
   * Fills a folder aside.
   * @param screen what the console shows
   * @throws ServiceError, and what `fill` throws; nothing is left then
   */
  async make(entry: SnapshotRecord, screen: string, fill: (folder: string) => Promise<void>): Promise<void> {
    const making = this.asideOf(entry.id)
    try {
      await makeFolder(making)
      // Before what takes long, or ends something: the disk may be full.
      if (screen !== '') await writeAtomic(join(making, SCREEN_FILE), screen)
      await writeAtomic(join(making, RECORD_FILE), `${JSON.stringify(entry, null, 2)}\n`)
      await fill(making)
      await syncFolder(making)
    } catch (error) {
      await this.discard(entry.id)
      throw error
    }
  }

  /** What was filled aside will not appear. */
  async discard(id: string): Promise<void> {
    await rm(this.asideOf(id), { recursive: true, force: true }).catch(() => undefined)
  }

  /** Fills a folder aside, then lets it appear: the present descends from it at once. @param awaitsClone see `settleAwaited` @throws as `make` */
  async add(entry: SnapshotRecord, screen: string, fill: (folder: string) => Promise<void>, awaitsClone = false): Promise<SnapshotRecord> {
    await this.make(entry, screen, fill)
    try {
      await this.setCurrent(entry.id, await this.current(), awaitsClone)
      await moveDurably(this.asideOf(entry.id), this.pathOf(entry.id))
      return entry
    } catch (error) {
      await this.discard(entry.id)
      throw error
    }
  }

  /** @throws ServiceError disk-full, library-read-only */
  write(entry: SnapshotRecord): Promise<void> {
    return this.writeTo(entry.id, entry)
  }

  private writeTo(folder: string, entry: SnapshotRecord): Promise<void> {
    return writeAtomic(this.pathOf(folder, RECORD_FILE), `${JSON.stringify(entry, null, 2)}\n`)
  }

  /** A damaged one too. Its children become its parent's. One rename decides; what it then takes to be rid of it is done again where it was cut off. @throws ServiceError not-found, library-read-only */
  async remove(id: string): Promise<void> {
    if (!(await this.has(id))) throw new ServiceError('not-found', phrase('snapshot.none', { id }), { id })
    try {
      await rename(this.pathOf(id), join(this.folder, OLD_PREFIX + id))
      await syncFolder(this.folder)
    } catch (error) {
      throw writeError(error, this.pathOf(id))
    }
    await this.finishRemoval(OLD_PREFIX + id).catch(() => undefined)
  }

  /** @param folder name of the renamed folder: the large files in it go first, for the rest may need their room */
  private async finishRemoval(folder: string): Promise<void> {
    const entry = await this.readRecord(folder).catch(() => undefined)
    const files = entry === undefined ? [] : await readdir(this.pathOf(folder))
    for (const file of files) if (file !== RECORD_FILE) await rm(this.pathOf(folder, file), { recursive: true, force: true })
    if (entry !== undefined) await this.bypass(entry)
    await rm(this.pathOf(folder), { recursive: true, force: true })
  }

  /** Nothing names it any more. */
  private async bypass({ id, parent }: SnapshotRecord): Promise<void> {
    for (const [folder, child] of await this.records((name) => !name.startsWith(NEW_PREFIX))) {
      if (child.parent === id) await this.writeTo(folder, { ...child, parent })
    }
    const { current, before } = await this.readTree()
    if (current === id || before === id) await this.setCurrent(await this.current())
  }

  /** Removes what an interrupted operation left. */
  async clean(): Promise<void> {
    const names = await readdir(this.folder).catch(() => [])
    if (names.length > 0) await removeTemporaries(this.folder).catch(() => undefined)
    for (const name of names) {
      const path = join(this.folder, name)
      if (name.startsWith(NEW_PREFIX)) await rm(path, { recursive: true, force: true }).catch(() => undefined)
      else await removeTemporaries(path).catch(() => undefined)
      if (name.startsWith(OLD_PREFIX)) await this.finishRemoval(name).catch(() => undefined)
    }
  }
}

/** @param removed who lies between @returns the snapshot itself or its nearest ancestor that is there */
function nearestOf(id: string | null | undefined, isThere: (id: string) => boolean, removed: readonly SnapshotRecord[]): string | null {
  const parents = new Map(removed.map((entry) => [entry.id, entry.parent]))
  let at = id ?? null
  // Each is passed once at most: files that somebody made may go round in a circle.
  for (let steps = 0; at !== null && steps <= removed.length; steps++) {
    if (isThere(at)) return at
    at = parents.get(at) ?? null
  }
  return null
}

/**
 * Files of states that others of a machine build on: `<machine>/memory/<id>.nbs`, a second name of the state's own file. So it is
 * there for as long as a state needs it, whatever becomes of the snapshot that it came from.
 */
import { existsSync } from 'node:fs'
import { link, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { phrase } from '../../../preload/contract'
import { copyImage } from '../../host/copy-file'
import { readStateHeader, type StateHeader } from '../../host/state-header'
import type { StatePlace } from '../../vm-host/protocol'
import { ServiceError, systemCode, writeError } from '../errors'
import { makeFolder } from '../files'
import { SnapshotStore, STATE_FILE } from './store'

const SUFFIX = '.nbs'
export const MEMORY_FOLDER = 'memory'

export class StateMemory {
  readonly folder: string

  /** @param dir the machine's folder */
  constructor(private readonly dir: string) {
    this.folder = join(dir, MEMORY_FOLDER)
  }

  pathOf(id: string): string {
    return join(this.folder, id + SUFFIX)
  }

  /** Lets other states build on this one. @returns false where that cannot be: on file systems without second names, of old files */
  async keep(statePath: string): Promise<boolean> {
    try {
      const { id } = await readStateHeader(statePath)
      if (id === '') return false
      await makeFolder(this.folder)
      await link(statePath, this.pathOf(id)).catch((error: unknown) => {
        if (systemCode(error) !== 'EEXIST') throw error
      })
      return true
    } catch {
      return false
    }
  }

  /** The state that the machine's present descends from, for the next one to build on. */
  async base(): Promise<StatePlace | undefined> {
    const store = new SnapshotStore(this.dir)
    const current = await store.current()
    if (current === null) return undefined
    const path = store.pathOf(current, STATE_FILE)
    return existsSync(path) && await this.keep(path) ? { path, memoryDir: this.folder } : undefined
  }

  /** Gives another machine, which has a state of this one, what that builds on. @throws ServiceError file-missing, disk-full, … */
  async provide(statePath: string, other: StateMemory): Promise<void> {
    const { bases } = await readStateHeader(statePath).catch((): Pick<StateHeader, 'bases'> => ({ bases: [] }))
    if (bases.length > 0) await makeFolder(other.folder)
    for (const id of bases) await giveName(this.pathOf(id), other.pathOf(id))
  }

  /** Removes what no state of the machine builds on. Where that is not certain, nothing. */
  async collect(): Promise<void> {
    const files = await readdir(this.folder).catch(() => [])
    if (files.length === 0) return
    const needed = new Set<string>()
    for (const path of await this.states()) {
      const header = await readStateHeader(path).catch(() => undefined)
      if (!header) return
      for (const id of header.bases) needed.add(id)
    }
    for (const file of files) if (!needed.has(file.slice(0, -SUFFIX.length))) await rm(join(this.folder, file), { force: true })
  }

  private async states(): Promise<string[]> {
    const saved = join(this.dir, 'saved')
    const snapshots = join(this.dir, 'snapshots')
    const present = (await readdir(saved).catch(() => [])).filter((name) => name.startsWith(STATE_FILE)).map((name) => join(saved, name))
    const points = (await readdir(snapshots).catch(() => [])).map((name) => join(snapshots, name, STATE_FILE)).filter((path) => existsSync(path))
    return [...present, ...points]
  }
}

/** A state's bytes never change once written, so a second name is as good as a copy; some file systems have no such thing. */
export async function giveName(from: string, to: string): Promise<void> {
  await link(from, to).catch(async (error: unknown) => {
    if (systemCode(error) === 'EEXIST') return
    if (systemCode(error) === 'ENOENT') throw new ServiceError('file-missing', phrase('file.missing', { path: from }), { path: from })
    await copyImage(from, to).catch((inner: unknown) => {
      throw writeError(inner, to)
    })
  })
}

/** The one saved state a machine may have: where it is, and what must be cleared up around it. */
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeError } from '../errors'
import { makeFolder } from '../files'
import { StateMemory } from './memory'

/** A state somebody asked for at the end of the app goes on by itself at the next start. */
const RESUME_MARK = 'resume-on-start'
/** Beside a file that a snapshot is about to replace. */
export const RESTORED_SUFFIX = '.nestbox-restored'
/** What is left where a process was killed: half-written, used up, or about to be brought back. */
const LEFTOVERS = ['.tmp', '.used', RESTORED_SUFFIX]

export class SavedState {
  private readonly folder: string
  readonly path: string
  /** What the machine's states build on. */
  readonly memory: StateMemory

  /** @param dir the machine's folder */
  constructor(dir: string) {
    this.folder = join(dir, 'saved')
    this.path = join(this.folder, 'state.nbs')
    this.memory = new StateMemory(dir)
  }

  get exists(): boolean {
    return existsSync(this.path)
  }

  /** @throws ServiceError library-read-only, disk-full */
  async prepare(): Promise<void> {
    try {
      await makeFolder(this.folder)
      await this.clearLeftovers()
    } catch (error) {
      throw writeError(error, this.folder)
    }
  }

  async clearLeftovers(): Promise<void> {
    for (const suffix of LEFTOVERS) await rm(this.path + suffix, { force: true })
  }

  get resumesOnStart(): boolean {
    return this.exists && existsSync(join(this.folder, RESUME_MARK))
  }

  async markResume(): Promise<void> {
    await writeFile(join(this.folder, RESUME_MARK), '')
  }

  async clearResume(): Promise<void> {
    await rm(join(this.folder, RESUME_MARK), { force: true })
  }

  /** @throws ServiceError library-read-only */
  async discard(): Promise<void> {
    try {
      await rm(this.path, { force: true })
      await this.clearLeftovers()
      await this.clearResume()
      await this.memory.collect()
    } catch (error) {
      throw writeError(error, this.path)
    }
  }
}

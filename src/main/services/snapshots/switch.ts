/**
 * Several files changed as one: what is to be done is written down first, then done, then struck off. Whatever moment the
 * process dies at, the machine is wholly in the old or (after `finishSwitch`) wholly in the new state.
 */
import { existsSync } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { machineSettings, phrase } from '../../../preload/contract'
import { copyImage } from '../../host/copy-file'
import { ServiceError, writeError } from '../errors'
import { syncFolder, writeAtomic } from '../files'
import { RESTORED_SUFFIX } from './saved-state'

const JOURNAL = 'switch.json'

const journal = z.object({
  version: z.literal(1),
  /** Of files and folders, within one folder each, so that a move cannot fail half-way. */
  moves: z.array(z.object({ from: z.string(), to: z.string() })),
  removals: z.array(z.string()),
  /** Images that take the place of others as copies, last of all: a machine can run before they are there. `from` never changes. */
  fills: z.array(z.object({ from: z.string(), to: z.string() })).optional(),
  settings: machineSettings.partial(),
  /** The snapshot the present descends from afterwards. */
  current: z.string().nullable(),
  /** The machine's from now on; a new one unless given. */
  generationId: z.string().uuid().optional(),
})
export type Switch = z.infer<typeof journal>

/** The point of no return. @param folder of the machine's snapshots */
export async function beginSwitch(folder: string, change: Switch): Promise<void> {
  await writeAtomic(join(folder, JOURNAL), `${JSON.stringify(change)}\n`)
}

/** Takes back what could not be begun in order. @returns false where it stays written down, and will be finished */
export async function cancelSwitch(folder: string): Promise<boolean> {
  try {
    await rm(join(folder, JOURNAL), { force: true })
    return true
  } catch {
    return !hasSwitch(folder)
  }
}

export const hasSwitch = (folder: string): boolean => existsSync(join(folder, JOURNAL))

/** What is left of a switch: the copies, in whose places there is nothing yet. */
export class Filling {
  constructor(private readonly journal: string, readonly fills: NonNullable<Switch['fills']>) {}

  /**
   * Makes them, and strikes the switch off. May run again where it failed.
   * @param report gets the fraction that is done @throws ServiceError disk-full, library-read-only, internal
   */
  async finish(report: (fraction: number) => void = () => undefined): Promise<void> {
    const { fills, journal } = this
    try {
      for (const [i, { from, to }] of fills.entries()) {
        const beside = to + RESTORED_SUFFIX
        await rm(beside, { force: true })
        // One that somebody took away is missed when the machine starts.
        if (!existsSync(from)) continue
        await copyImage(from, beside, { onProgress: (done, total) => report((i + done / Math.max(1, total)) / fills.length) })
        await rename(beside, to)
      }
      await syncFoldersOf(fills)
      await strikeOff(journal)
    } catch (error) {
      throw writeError(error, journal)
    }
  }
}

const syncFoldersOf = (moves: readonly { to: string }[]): Promise<unknown> => Promise.all([...new Set(moves.map(({ to }) => dirname(to)))].map(syncFolder))

async function strikeOff(journal: string): Promise<void> {
  await rm(journal, { force: true })
  await syncFolder(dirname(journal))
}

/** @throws ServiceError machine-damaged */
async function readJournal(path: string): Promise<Switch> {
  try {
    return journal.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    // It is written atomically: this is damage from outside, and guessing would make it worse.
    throw new ServiceError('machine-damaged', phrase('snapshot.switchDamaged', { path }), { path, cause: String(error) })
  }
}

/**
 * Does what was begun but for what takes long; nothing where nothing was begun.
 * @param apply settings and tree pointer; may run twice
 * @returns what is left; undefined where that is nothing
 */
export async function performSwitch(folder: string, apply: (change: Switch) => Promise<void>): Promise<Filling | undefined> {
  const path = join(folder, JOURNAL)
  if (!existsSync(path)) return undefined
  const change = await readJournal(path)
  const { moves, removals, fills = [] } = change
  try {
    for (const { from, to } of moves) if (existsSync(from)) await rename(from, to)
    await syncFoldersOf(moves)
    for (const file of [...removals, ...fills.map(({ to }) => to)]) await rm(file, { force: true })
    await apply(change)
    if (fills.length > 0) return new Filling(path, fills)
    await strikeOff(path)
    return undefined
  } catch (error) {
    throw writeError(error, path)
  }
}

/** All of it. @param apply as `performSwitch` has it */
export async function finishSwitch(folder: string, apply: (change: Switch) => Promise<void>): Promise<void> {
  await (await performSwitch(folder, apply))?.finish()
}

/**
 * Several files changed as one: what is to be done is written down first, then done, then struck off. Whatever moment the
 * process dies at, the machine is wholly in the old or (after `finishSwitch`) wholly in the new state.
 */
import { existsSync } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { machineSettings, phrase } from '../../../preload/contract'
import { ServiceError, writeError } from '../errors'
import { syncFolder, writeAtomic } from '../files'

const JOURNAL = 'switch.json'

const journal = z.object({
  version: z.literal(1),
  /** Of files and folders, within one folder each, so that a move cannot fail half-way. */
  moves: z.array(z.object({ from: z.string(), to: z.string() })),
  removals: z.array(z.string()),
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

/** Does what was begun; nothing where nothing was. @param apply settings and tree pointer; may run twice */
export async function finishSwitch(folder: string, apply: (change: Switch) => Promise<void>): Promise<void> {
  const path = join(folder, JOURNAL)
  if (!existsSync(path)) return
  let change: Switch
  try {
    change = journal.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    // It is written atomically: this is damage from outside, and guessing would make it worse.
    throw new ServiceError('machine-damaged', phrase('snapshot.switchDamaged', { path }), { path, cause: String(error) })
  }
  try {
    for (const { from, to } of change.moves) if (existsSync(from)) await rename(from, to)
    await Promise.all([...new Set(change.moves.map(({ to }) => dirname(to)))].map(syncFolder))
    for (const file of change.removals) await rm(file, { force: true })
    await apply(change)
    await rm(path, { force: true })
    await syncFolder(folder)
  } catch (error) {
    throw writeError(error, path)
  }
}

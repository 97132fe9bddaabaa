/** `machine.json`: reading with every check, writing atomically. A file that cannot be used is kept aside, never overwritten. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { machineId, machineName, machineOrigin, machineSettings, phrase, type MachineSettings, type Phrase } from '../../../preload/contract'
import { messageOf, ServiceError, systemCode, whyOf } from '../errors'
import { moveDurably, stamp, writeAtomic } from '../files'
import { invalidPhrase } from '../invalid-params'
import type { MachineRecord } from '../types'
import { DEFAULT_SETTINGS } from './defaults'

export const MACHINE_FILE = 'machine.json'
const DAMAGED = `${MACHINE_FILE}.damaged-`
/** Raised when a reader of the old form could no longer understand the file. */
export const MACHINE_FILE_VERSION = 1

const machineBase = z.object({
  machineId, snapshotId: z.string().uuid().optional(), files: z.array(z.object({ path: z.string(), size: z.number(), mtimeMs: z.number() })),
})

const machineFile = z.object({
  version: z.literal(MACHINE_FILE_VERSION),
  id: machineId,
  createdAt: z.string(),
  settings: machineSettings,
  isTemplate: z.boolean().optional(),
  origin: machineOrigin.optional(),
  base: machineBase.optional(),
  generationId: z.string().uuid().optional(),
})

/** Whatever form the file has, these may be in it. */
const salvage = z.object({
  version: z.number().optional(), createdAt: z.string().optional(), settings: z.object({ name: machineName }).optional(), isTemplate: z.boolean().optional(), origin: machineOrigin.optional(),
  base: machineBase.optional(),
  generationId: z.string().uuid().optional(),
})

type Extras = Pick<MachineRecord, 'isTemplate' | 'origin' | 'base' | 'generationId'>

/** What a record has only where it applies. */
const extrasOf = ({ isTemplate, origin, base, generationId }: Extras): Extras =>
  ({ ...(isTemplate && { isTemplate }), ...(origin && { origin }), ...(base && { base }), ...(generationId && { generationId }) })

export async function writeMachineFile(dir: string, record: Pick<MachineRecord, 'id' | 'createdAt' | 'settings'> & Extras): Promise<void> {
  const { id, createdAt, settings } = record
  const content = { version: MACHINE_FILE_VERSION, id, createdAt, settings, ...extrasOf(record) }
  await writeAtomic(join(dir, MACHINE_FILE), `${JSON.stringify(content, null, 2)}\n`)
}

/** The record, or why the text is no machine file of this version. */
function parse(text: string): { found: z.infer<typeof machineFile> } | { trouble: Phrase } {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    return { trouble: phrase('damage.notJson', { detail: messageOf(error) }) }
  }
  const parsed = machineFile.safeParse(json)
  if (parsed.success) return { found: parsed.data }
  const [issue] = parsed.error.issues
  return { trouble: phrase('damage.field', { field: issue.path.length > 0 ? issue.path.join('.') : MACHINE_FILE, detail: invalidPhrase(issue) }) }
}

function damagedRecord(id: string, dir: string, text: string, damage: Phrase): MachineRecord {
  let known: z.infer<typeof salvage> = {}
  try {
    known = salvage.safeParse(JSON.parse(text)).data ?? {}
  } catch {
    // Nothing to salvage; the machine is shown under its id.
  }
  const settings: MachineSettings = { ...DEFAULT_SETTINGS, name: known.settings?.name ?? `Damaged ${id.slice(0, 8)}` }
  return { id, dir, settings, createdAt: known.createdAt ?? new Date(0).toISOString(), damage, ...extrasOf(known) }
}

async function newestDamaged(dir: string): Promise<string | undefined> {
  return (await readdir(dir)).filter((name) => name.startsWith(DAMAGED)).sort().at(-1)
}

/** Version of a file a newer Nestbox wrote, else undefined. */
function newerVersion(text: string): number | undefined {
  try {
    const version = salvage.safeParse(JSON.parse(text)).data?.version
    return version !== undefined && version > MACHINE_FILE_VERSION ? version : undefined
  } catch {
    return undefined
  }
}

/**
 * Reads the machine in a folder named by its id. Never throws for what the file holds: a damaged machine has `damage`.
 * @returns undefined where the folder holds no machine at all
 */
export async function readMachineFolder(dir: string, id: string): Promise<MachineRecord | undefined> {
  const path = join(dir, MACHINE_FILE)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') return damagedRecord(id, dir, '', phrase('damage.unreadable', { path, cause: whyOf(error) }))
    const aside = await newestDamaged(dir)
    if (!aside) return undefined
    const kept = await readFile(join(dir, aside), 'utf8').catch(() => '')
    return damagedRecord(id, dir, kept, phrase('damage.kept', { path: join(dir, aside) }))
  }
  const newer = newerVersion(text)
  if (newer !== undefined) return damagedRecord(id, dir, text, phrase('damage.newer', { version: newer }))
  const parsed = parse(text)
  if ('found' in parsed && parsed.found.id === id) return { id, dir, createdAt: parsed.found.createdAt, settings: parsed.found.settings, ...extrasOf(parsed.found) }
  const why = 'found' in parsed ? phrase('damage.otherMachine', { id: parsed.found.id }) : parsed.trouble
  return damagedRecord(id, dir, text, await keepAside(dir, why))
}

async function keepAside(dir: string, why: Phrase): Promise<Phrase> {
  const path = join(dir, MACHINE_FILE)
  const aside = join(dir, `${DAMAGED}${stamp(new Date())}`)
  try {
    await moveDurably(path, aside)
    return phrase('damage.setAside', { why, path: aside })
  } catch (error) {
    return phrase('damage.notAside', { path, why, cause: whyOf(error) })
  }
}

/** @throws ServiceError machine-damaged */
export function requireSound(record: MachineRecord): void {
  if (record.damage) throw new ServiceError('machine-damaged', phrase('machine.damaged', { name: record.settings.name, damage: record.damage }))
}

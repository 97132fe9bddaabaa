/** What is known of a machine's snapshots from their files: read again only where a file is another one than it was. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { machineSettings, phrase } from '../../../preload/contract'
import { ServiceError, whyOf } from '../errors'
import { folderSize } from '../files'

export const RECORD_FILE = 'snapshot.json'
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

/** What a list shows beside the record. */
export interface SnapshotFacts {
  /** On disk. */
  readonly bytes: number
  /** '' where it is not known. */
  readonly screen: string
}

interface Known {
  /** Of the record's file: a file that is written anew is another one. */
  readonly stamp: string
  readonly record: SnapshotRecord
  facts?: Promise<SnapshotFacts>
}

export class SnapshotRecords {
  private readonly known = new Map<string, Known>()
  private reads = 0

  /** Files that were read so far. */
  get filesRead(): number {
    return this.reads
  }

  /** @param dir the snapshot's folder @throws ServiceError machine-damaged */
  async read(dir: string): Promise<SnapshotRecord> {
    return (await this.current(dir)).record
  }

  /** Nothing in a snapshot's folder changes but its record. @throws ServiceError machine-damaged */
  async facts(dir: string): Promise<SnapshotFacts> {
    const known = await this.current(dir)
    return known.facts ??= this.readFacts(dir)
  }

  private async readFacts(dir: string): Promise<SnapshotFacts> {
    this.reads++
    const [bytes, screen] = await Promise.all([folderSize(dir), readFile(join(dir, SCREEN_FILE), 'utf8').catch(() => '')])
    return { bytes, screen }
  }

  private async current(dir: string): Promise<Known> {
    const path = join(dir, RECORD_FILE)
    try {
      const { ino, size, mtimeMs } = await stat(path)
      const stamp = `${ino} ${size} ${mtimeMs}`
      const known = this.known.get(dir)
      if (known?.stamp === stamp) return known
      this.reads++
      const record = snapshotRecord.parse(JSON.parse(await readFile(path, 'utf8')))
      // A folder is named by its id, with something before it while it comes or goes.
      if (!dir.endsWith(record.id)) throw new ServiceError('machine-damaged', phrase('damage.field', { field: 'id', detail: record.id }))
      const now: Known = { stamp, record, ...(known?.facts && { facts: known.facts }) }
      this.known.set(dir, now)
      return now
    } catch (error) {
      this.known.delete(dir)
      const why = error instanceof z.ZodError ? phrase('damage.field', { field: error.issues[0].path.join('.'), detail: error.issues[0].message }) : whyOf(error)
      throw new ServiceError('machine-damaged', phrase('snapshot.damaged', { path, why }), { path })
    }
  }

  /** @param dirs the folders that there are */
  forgetAllBut(dirs: readonly string[]): void {
    const there = new Set(dirs)
    for (const dir of this.known.keys()) if (!there.has(dir)) this.known.delete(dir)
  }
}

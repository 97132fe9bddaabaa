/** What our own archive says of a machine: `machine.json` within it, with every path relative to the archive. */
import { z } from 'zod'
import { machineSettings, type MachineSettings } from '../../../preload/contract'
import { MEMORY_FOLDER } from '../snapshots/memory'
import { snapshotRecord, type SnapshotRecord } from '../snapshots/records'
import { STATE_FILE } from '../snapshots/store'

export const BUNDLE_FILE = 'bundle.json'
export const BUNDLE_VERSION = 1
export const SAVED_STATE = `saved/${STATE_FILE}`

export const bundle = z.object({
  version: z.literal(BUNDLE_VERSION),
  settings: machineSettings,
  isTemplate: z.boolean(),
  snapshots: z.array(snapshotRecord).max(1000),
  /** The snapshot the present descends from. */
  current: z.string().uuid().nullable(),
})
export type Bundle = z.infer<typeof bundle>

export const snapshotFile = (id: string, file: string): string => `snapshots/${id}/${file}`

/** Of a state that others in the archive build on, and that is not in it for itself. */
export const memoryFile = (id: string): string => `${MEMORY_FOLDER}/${id}.nbs`
export const isMemoryFile = (name: string): boolean => new RegExp(`^${MEMORY_FOLDER}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.nbs$`).test(name)

/** How files outside snapshots are called in an archive. */
export const isPlace = (name: string): boolean => /^(boot|disks)\/\w[\w.-]*$/.test(name)

/** The settings with every path as `rename` has it; '' stays. */
export function withPaths<S extends MachineSettings>(settings: S, rename: (path: string, kind: 'boot' | 'disks') => string): S {
  const boot = (path: string): string => (path === '' ? '' : rename(path, 'boot'))
  return { ...settings, kernel: boot(settings.kernel), initrd: boot(settings.initrd), disks: settings.disks.map((disk) => ({ ...disk, path: rename(disk.path, 'disks') })) }
}

export function snapshotWithPaths(snapshot: SnapshotRecord, rename: (path: string, kind: 'boot' | 'disks') => string): SnapshotRecord {
  return { ...snapshot, settings: withPaths(snapshot.settings, rename), disks: snapshot.disks.map(({ path, file }) => ({ path: rename(path, 'disks'), file })) }
}

/** Machines into files: our own archive, with everything, and OVA for others. */
import { existsSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, sep } from 'node:path'
import { phrase, type ArchiveFormat, type DiskSettings, type Exported, type MachineSettings, type Phrase } from '../../../preload/contract'
import { openDisk, type OpenDisk } from '../../host/disks/open'
import { readStateHeader } from '../../host/state-header'
import type { Appliance } from '../archive/appliance'
import { exportArchive, type ArchiveFile } from '../archive/nestbox-archive'
import { exportOva, stemOf } from '../archive/ova-export'
import { hasBacking } from '../clones/disks'
import { requireOpenable } from '../disks/openable'
import { ServiceError, writeError } from '../errors'
import { SavedState } from '../snapshots/saved-state'
import { SCREEN_FILE } from '../snapshots/records'
import { SnapshotStore, STATE_FILE } from '../snapshots/store'
import type { MachineRecord, Progress } from '../types'
import { BUNDLE_FILE, BUNDLE_VERSION, memoryFile, SAVED_STATE, snapshotFile, snapshotWithPaths, withPaths, type Bundle } from './bundle'

/** @throws ServiceError invalid-argument where neither the name nor anything else says the format */
export function formatOf(path: string, format?: ArchiveFormat): ArchiveFormat {
  if (format) return format
  if (/\.ova$/i.test(path)) return 'ova'
  if (/\.nestbox$/i.test(path)) return 'nestbox'
  throw new ServiceError('invalid-argument', phrase('export.formatUnclear', { path }), { path })
}

/** @throws ServiceError invalid-argument, file-missing, name-taken where there is one already */
export async function checkTarget(path: string, home: string, record: MachineRecord, overwrite: boolean): Promise<void> {
  if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('export.notFull', { path }), { path })
  const folder = await realpath(dirname(path)).catch(() => {
    throw new ServiceError('file-missing', phrase('export.noFolder', { path: dirname(path) }), { path })
  })
  const target = join(folder, basename(path))
  const library = await realpath(home).catch(() => home)
  const own = [record.settings.kernel, record.settings.initrd, ...record.settings.disks.map((disk) => disk.path)]
  const isOwn = (await Promise.all(own.map((file) => realpath(file).catch(() => file)))).includes(target)
  if (isOwn || target.startsWith(join(library, 'machines') + sep) || target.startsWith(join(library, 'trash') + sep)) throw new ServiceError('invalid-argument', phrase('export.ownFile', { path }), { path })
  if (!existsSync(target)) return
  if (!(await stat(target)).isFile()) throw new ServiceError('invalid-argument', phrase('export.notFile', { path }), { path })
  if (!overwrite) throw new ServiceError('name-taken', phrase('export.there', { path }), { path })
}

/** Gives every file of the computer one name in the archive. */
class Names {
  private readonly names = new Map<string, string>()
  readonly files = new Map<string, ArchiveFile>()

  readonly place = (path: string, kind: 'boot' | 'disks'): string => {
    const known = this.names.get(path)
    if (known !== undefined) return known
    const plain = basename(path).replace(/[^\w.-]/g, '_').slice(-60).replace(/^\.+|\.+$/g, '')
    const name = `${kind}/${this.names.size}-${plain || 'file'}`
    this.names.set(path, name)
    return name
  }

  pack(path: string, kind: 'boot' | 'disks'): void {
    const name = this.place(path, kind)
    this.files.set(name, { name, path })
  }

  packDisk(disk: Pick<DiskSettings, 'path' | 'format'>): Promise<void> {
    return this.addDisk(this.place(disk.path, 'disks'), disk)
  }

  /** A disk that is laid over another goes in as a whole, as a raw image. @throws ServiceError bad-disk, file-missing */
  async addDisk(name: string, { path, format }: Pick<DiskSettings, 'path' | 'format'>): Promise<void> {
    await requireOpenable(path, format)
    if (await isOverlay(path, format)) this.files.set(name, { name, open: () => openDisk(path, true, format) })
    else this.files.set(name, { name, path })
  }

  add(file: ArchiveFile): void {
    this.files.set(file.name, file)
  }
}

/** A file that is missing is told later, with its name. */
const isOverlay = (path: string, format: DiskSettings['format']): Promise<boolean> => hasBacking({ path, format }).catch(() => false)

/** The settings as they are with disks that are laid over nothing. @param contentOf where a disk's bytes are */
async function standingAlone(settings: MachineSettings, contentOf: (path: string) => string): Promise<MachineSettings> {
  const disks = await Promise.all(settings.disks.map(async (disk): Promise<DiskSettings> =>
    (await isOverlay(contentOf(disk.path), disk.format) ? { ...disk, format: 'raw' } : disk)))
  return { ...settings, disks }
}

/** What the states in the archive build on, where it is not among them. @param states their paths */
async function addBases(names: Names, record: MachineRecord, states: readonly string[]): Promise<void> {
  // What cannot be read is refused where it is started, here and there.
  const headers = (await Promise.all(states.map((path) => readStateHeader(path).catch(() => undefined)))).filter((header) => header !== undefined)
  const present = new Set(headers.map(({ id }) => id))
  const { memory } = new SavedState(record.dir)
  for (const id of new Set(headers.flatMap(({ bases }) => bases))) if (!present.has(id)) names.add({ name: memoryFile(id), path: memory.pathOf(id) })
}

/** Everything a machine needs elsewhere, in the order it goes into the archive. */
async function collect(record: MachineRecord, withSnapshots: boolean): Promise<ArchiveFile[]> {
  const names = new Names()
  const store = new SnapshotStore(record.dir)
  const snapshots = withSnapshots ? await store.list() : []
  for (const { settings } of [record, ...snapshots]) {
    for (const path of [settings.kernel, settings.initrd]) if (path !== '') names.pack(path, 'boot')
    for (const disk of settings.disks) if (disk.readOnly) await names.packDisk(disk)
  }
  for (const disk of record.settings.disks) await names.packDisk(disk)
  const saved = new SavedState(record.dir)
  if (saved.exists) names.add({ name: SAVED_STATE, path: saved.path })
  for (const { id, disks, hasState, settings } of snapshots) {
    for (const { path, file } of disks) {
      const format = settings.disks.find((disk) => disk.path === path)?.format ?? 'raw'
      await names.addDisk(snapshotFile(id, file), { path: store.pathOf(id, file), format })
    }
    if (existsSync(store.pathOf(id, SCREEN_FILE))) names.add({ name: snapshotFile(id, SCREEN_FILE), path: store.pathOf(id, SCREEN_FILE) })
    if (hasState) names.add({ name: snapshotFile(id, STATE_FILE), path: store.pathOf(id, STATE_FILE) })
  }
  await addBases(names, record, [...(saved.exists ? [saved.path] : []), ...snapshots.filter(({ hasState }) => hasState).map(({ id }) => store.pathOf(id, STATE_FILE))])
  const about: Bundle = {
    version: BUNDLE_VERSION, settings: withPaths(await standingAlone(record.settings, (path) => path), names.place), isTemplate: record.isTemplate ?? false,
    snapshots: await Promise.all(snapshots.map(async (snapshot) => {
      const copies = new Map(snapshot.disks.map(({ path, file }) => [path, store.pathOf(snapshot.id, file)]))
      return snapshotWithPaths({ ...snapshot, settings: await standingAlone(snapshot.settings, (path) => copies.get(path) ?? path) }, names.place)
    })),
    current: withSnapshots ? await store.current() : null,
  }
  return [{ name: BUNDLE_FILE, data: Buffer.from(`${JSON.stringify(about, null, 2)}\n`) }, ...names.files.values()]
}

/** @throws ServiceError file-missing */
function requirePresent(paths: readonly string[]): void {
  for (const path of paths) if (!existsSync(path)) throw new ServiceError('file-missing', phrase('export.incomplete', { path }), { path })
}

const CIM_LINUX = 36
const CIM_LINUX_64 = 101

function applianceOf({ settings }: MachineRecord): Appliance {
  const { name, notes, memoryMiB, cpuProfile, commandLine, kernel, initrd } = settings
  const is64 = cpuProfile.endsWith('64')
  return {
    name, description: notes, osId: is64 ? CIM_LINUX_64 : CIM_LINUX, osName: is64 ? 'Linux (64-bit)' : 'Linux', cpus: 1, memoryMiB, networks: [],
    disks: settings.disks.map((_disk, i) => ({ fileName: `${stemOf(name)}-disk${i + 1}.vmdk`, capacityBytes: 0, format: '', controller: 'virtio', bus: 0, unit: i })),
    ...(kernel !== '' && { directBoot: { kernelFile: 'kernel', initrdFile: initrd === '' ? '' : 'initrd', commandLine, cpuProfile } }),
  }
}

async function exportAsOva(record: MachineRecord, target: string, progress: Progress): Promise<void> {
  const { kernel, initrd, disks } = record.settings
  const sources: OpenDisk[] = []
  try {
    for (const { path, format } of disks) sources.push(await openDisk(path, true, format))
    const extras = [{ name: 'kernel', path: kernel }, { name: 'initrd', path: initrd }].filter(({ path }) => path !== '')
    await exportOva(applianceOf(record), sources, extras, target, progress)
  } finally {
    for (const source of sources) await source.close()
  }
}

export interface ExportOptions {
  readonly path: string
  readonly format: ArchiveFormat
  readonly snapshots: boolean
}

/**
 * Of a machine that is off and stays so meanwhile. The file is there as a whole or not at all.
 * @throws ServiceError file-missing, disk-full, library-read-only, unsupported; AbortError
 */
export async function exportMachine(record: MachineRecord, { path, format, snapshots }: ExportOptions, progress: Progress): Promise<Exported> {
  const { kernel, initrd, disks } = record.settings
  requirePresent([kernel, initrd, ...disks.map((disk) => disk.path)].filter((file) => file !== ''))
  if (format === 'ova') await exportAsOva(record, path, progress)
  else {
    const files = await collect(record, snapshots)
    requirePresent(files.flatMap((file) => ('path' in file ? [file.path] : [])))
    await exportArchive(record.settings.name, files, path, progress)
  }
  const { size } = await stat(path).catch((error: unknown) => {
    throw writeError(error, path)
  })
  return { path, format, bytes: size, warnings: await leftOut(record, format) }
}

/** What others cannot take. */
async function leftOut(record: MachineRecord, format: ArchiveFormat): Promise<Phrase[]> {
  if (format === 'nestbox') return []
  const snapshots = await new SnapshotStore(record.dir).list()
  return [
    ...(new SavedState(record.dir).exists ? [phrase('export.noState')] : []),
    ...(snapshots.length > 0 ? [phrase('export.noSnapshots')] : []),
    ...(record.settings.kernel === '' ? [] : [phrase('export.noBootLoader')]),
  ]
}

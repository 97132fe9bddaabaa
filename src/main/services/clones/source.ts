/** What a new machine is made from: a machine as it is now, or one of its snapshots; and the files that takes. */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'
import { phrase, type DiskSettings, type MachineSettings } from '../../../preload/contract'
import { ServiceError, systemCode } from '../errors'
import { makeFolder } from '../files'
import type { NewFolder } from '../library'
import { giveName } from '../snapshots/memory'
import { SavedState } from '../snapshots/saved-state'
import { SnapshotStore, STATE_FILE } from '../snapshots/store'
import type { MachineBase, MachineRecord, Progress } from '../types'
import { baseFiles, copyDisk, layOver, type DiskCopy } from './disks'

export interface Source {
  /** As the guest has them; `disks` where the machine itself has them. */
  readonly settings: MachineSettings
  /** The folder of the machine: what is in it is the new machine's own as well, what lies elsewhere may be shared. */
  readonly dir: string
  /** Where the contents of a disk are, by the disk's path. */
  readonly contentOf: (path: string) => string
  /** Of a machine that goes on where it stood. */
  readonly statePath?: string
}

export function sourceOf(record: MachineRecord, settings = record.settings): Source {
  const saved = new SavedState(record.dir)
  return { settings, dir: record.dir, contentOf: (path) => path, ...(saved.exists && { statePath: saved.path }) }
}

/** @throws ServiceError not-found */
export async function sourceOfSnapshot(record: MachineRecord, snapshotId: string): Promise<Source> {
  const store = new SnapshotStore(record.dir)
  const snapshot = await store.require(snapshotId)
  const files = new Map(snapshot.disks.map(({ path, file }) => [path, store.pathOf(snapshotId, file)]))
  // What it is called and how it is filed is the machine's.
  const { name, group, tags, notes } = record.settings
  return {
    settings: { ...snapshot.settings, name, group, tags, notes }, dir: record.dir, contentOf: (path) => files.get(path) ?? path,
    ...(snapshot.hasState && { statePath: store.pathOf(snapshotId, STATE_FILE) }),
  }
}

export interface Copy {
  readonly from: string
  readonly to: string
}

export interface Plan {
  readonly settings: MachineSettings
  /** Files that never change once written. */
  readonly boot: readonly Copy[]
  /** Disks that nobody writes. */
  readonly readOnly: readonly DiskCopy[]
  readonly writable: readonly DiskCopy[]
  readonly state: Copy | undefined
}

const isInside = (path: string, dir: string): boolean => path.startsWith(dir + sep)

/**
 * Which files go where, and the settings that name them. Read-only disks outside the machine's folder are shared.
 * @param linked the new machine's disks are laid over the others
 */
export function planCopy({ settings, dir, contentOf, statePath }: Source, folder: NewFolder, linked = false): Plan {
  const boot: Copy[] = []
  const readOnly: DiskCopy[] = []
  const writable: DiskCopy[] = []
  const bootFile = (path: string, name: string): string => {
    if (!isInside(path, dir)) return path
    boot.push({ from: path, to: join(folder.dir, 'boot', name) })
    return join(folder.finalDir, 'boot', name)
  }
  const planDisk = (disk: DiskSettings, i: number): DiskSettings => {
    if (disk.readOnly && !isInside(disk.path, dir)) return disk
    const format = linked && !disk.readOnly ? 'qcow2' : disk.format
    const name = disk.readOnly ? `${i}-${basename(disk.path).replace(/^\d+-/, '')}` : `disk${i}.${format === 'raw' ? 'img' : format}`
    const copy = { to: join(folder.dir, 'disks', name), format: disk.format }
    if (disk.readOnly) readOnly.push({ ...copy, from: disk.path })
    else writable.push({ ...copy, from: contentOf(disk.path) })
    return { ...disk, format, path: join(folder.finalDir, 'disks', name) }
  }
  return {
    settings: { ...settings, kernel: bootFile(settings.kernel, 'kernel'), initrd: bootFile(settings.initrd, 'initrd'), disks: settings.disks.map(planDisk) },
    boot, readOnly, writable,
    state: statePath === undefined ? undefined : { from: statePath, to: new SavedState(folder.dir).path },
  }
}

/** @throws ServiceError file-missing, file-unreadable */
async function requireReadable(path: string): Promise<number> {
  try {
    await access(path, constants.R_OK)
    return (await stat(path)).size
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new ServiceError('file-missing', phrase('file.missing', { path }), { path })
    throw new ServiceError('file-unreadable', phrase('file.unreadable', { path }), { path })
  }
}

export async function makeFoldersFor(copies: readonly Copy[]): Promise<void> {
  for (const dir of new Set(copies.map(({ to }) => to.slice(0, to.lastIndexOf(sep))))) await makeFolder(dir)
}

/** Boot files are copied like raw disks. @throws ServiceError file-missing, file-unreadable, bad-disk, disk-full, library-read-only; AbortError */
export async function copyFiles(copies: readonly (Copy & Partial<DiskCopy>)[], progress: Progress): Promise<void> {
  const sizes: number[] = []
  for (const { from } of copies) sizes.push(await requireReadable(from))
  await makeFoldersFor(copies)
  const total = sizes.reduce((sum, size) => sum + size, 0) || 1
  let before = 0
  for (const [i, { from, to, format = 'raw' }] of copies.entries()) {
    const onProgress = (part: number): void => progress.report((before + part * sizes[i]) / total, basename(from))
    await copyDisk({ from, to, format }, progress, onProgress)
    before += sizes[i]
  }
}

/** Lays new disks over those of the plan, which are told apart from others by what is returned. @throws as `copyFiles` */
export async function layOverAll(disks: readonly DiskCopy[], progress: Progress): Promise<MachineBase['files']> {
  for (const { from } of disks) await requireReadable(from)
  await makeFoldersFor(disks)
  for (const disk of disks) await layOver(disk, progress)
  return baseFiles(disks.map(({ from }) => from))
}

/** The state and what it builds on. @throws ServiceError file-missing, disk-full, library-read-only */
export async function linkState({ from, to }: Copy, dir: string, newDir: string): Promise<void> {
  await makeFoldersFor([{ from, to }])
  await giveName(from, to)
  await new SavedState(dir).memory.provide(to, new SavedState(newDir).memory)
}

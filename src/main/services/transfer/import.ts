/** Machines from files. Everything in them is a stranger's: checked before it is believed, and nothing leaves the new machine's folder. */
import { existsSync } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, isAbsolute, join } from 'node:path'
import { z } from 'zod'
import { LIMITS, machineName, NAME_PATTERN, phrase, type MachineSettings, type Phrase } from '../../../preload/contract'
import { readStateHeader } from '../../host/state-header'
import { badArchive, archiveError } from '../archive/errors'
import { printable } from '../archive/members'
import { importArchive } from '../archive/nestbox-archive'
import { importOva, type Imported as ImportedOva } from '../archive/ova-import'
import { ServiceError } from '../errors'
import { makeFolder } from '../files'
import { invalidPhrase } from '../invalid-params'
import type { NewFolder, NewMachine } from '../library'
import { CPU_PROFILE_NAMES, DEFAULT_SETTINGS } from '../library/defaults'
import { giveName } from '../snapshots/memory'
import { SavedState } from '../snapshots/saved-state'
import { RECORD_FILE, SCREEN_FILE } from '../snapshots/records'
import { SnapshotStore, STATE_FILE } from '../snapshots/store'
import type { Progress } from '../types'
import { BUNDLE_FILE, BUNDLE_VERSION, bundle, isMemoryFile, isPlace, memoryFile, SAVED_STATE, snapshotFile, snapshotWithPaths, withPaths, type Bundle } from './bundle'

const TAR_HEADER = 512
const MAX_BUNDLE = 16 << 20
/** What a console showed. */
const MAX_SCREEN = 1 << 20

export interface ImportedMachine {
  readonly machine: NewMachine
  readonly warnings: readonly Phrase[]
}

/** @throws ServiceError bad-archive, file-missing, file-unreadable, invalid-argument */
async function kindOf(path: string): Promise<'nestbox' | 'ova'> {
  if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('export.notFull', { path }), { path })
  try {
    if (!(await stat(path)).isFile()) throw badArchive(path, phrase('archive.notFile'))
    if (/\.ovf$/i.test(path)) return 'ova'
    const header = Buffer.alloc(TAR_HEADER)
    const file = await open(path, 'r')
    const { bytesRead } = await file.read(header, 0, TAR_HEADER, 0).finally(() => file.close())
    const first = header.toString('latin1', 0, 100).replace(/\0.*$/s, '')
    if (bytesRead === TAR_HEADER && first === 'nestbox.json') return 'nestbox'
    if (bytesRead === TAR_HEADER && (/\.ovf$/i.test(first) || /\.ova$/i.test(path))) return 'ova'
  } catch (error) {
    throw archiveError(error, path)
  }
  throw badArchive(path, phrase('archive.neither'))
}

/** A name that a machine can have, after one that another program gave. */
export function nameAfter(text: string, path: string): string {
  const plain = (from: string): string => from.normalize('NFC').replace(/[^\p{L}\p{N} ._()+-]/gu, ' ').replace(/^[^\p{L}\p{N}]+/u, '').replace(/ +/g, ' ').slice(0, LIMITS.nameLength).trim()
  const found = [plain(text), plain(basename(path).replace(/\.[^.]*$/, '')), 'Imported'].find((name) => NAME_PATTERN.test(name))
  return machineName.parse(found)
}

/** qcow2 can name another file as its base or its data: one from elsewhere could make any file of this computer readable. */
async function requireStandalone(archive: string, path: string): Promise<void> {
  const header = Buffer.alloc(80)
  const file = await open(path, 'r')
  await file.read(header, 0, header.length, 0).finally(() => file.close())
  if (header.toString('latin1', 0, 4) !== 'QFI\xfb') throw badArchive(archive, phrase('archive.notQcow2', { name: basename(path) }))
  const hasBacking = header.readBigUInt64BE(8) !== 0n
  const hasDataFile = header.readUInt32BE(4) >= 3 && (header.readBigUInt64BE(72) & 4n) !== 0n
  if (hasBacking || hasDataFile) throw badArchive(archive, phrase('archive.refersElsewhere', { name: basename(path) }))
}

async function readBundle(path: string, dir: string): Promise<Bundle> {
  const file = join(dir, BUNDLE_FILE)
  if ((await stat(file)).size > MAX_BUNDLE) throw badArchive(path, phrase('archive.tooLong', { name: BUNDLE_FILE }))
  let json: unknown
  try {
    json = JSON.parse(await readFile(file, 'utf8'))
  } catch {
    throw badArchive(path, phrase('archive.notJson', { name: BUNDLE_FILE }))
  }
  const { version } = z.object({ version: z.number() }).safeParse(json).data ?? {}
  if (version !== undefined && version > BUNDLE_VERSION) throw new ServiceError('unsupported', phrase('archive.newer', { path }))
  const parsed = bundle.safeParse(json)
  if (!parsed.success) throw badArchive(path, phrase('archive.headWrong', { name: BUNDLE_FILE, field: parsed.error.issues[0].path.join('.'), detail: invalidPhrase(parsed.error.issues[0]) }))
  return parsed.data
}

/** Every file that the description speaks of. @throws ServiceError bad-archive for a name that is not possible */
function filesOf(path: string, { settings, snapshots }: Bundle): Set<string> {
  const names = new Set([BUNDLE_FILE])
  const place = (name: string): string => {
    if (!isPlace(name)) throw badArchive(path, phrase('archive.nameRefused', { name: printable(name) }))
    return name
  }
  for (const { kernel, initrd } of [settings, ...snapshots.map((snapshot) => snapshot.settings)]) {
    for (const name of [kernel, initrd]) if (name !== '') names.add(place(name))
  }
  for (const disk of settings.disks) names.add(place(disk.path))
  for (const snapshot of snapshots) {
    for (const disk of snapshot.settings.disks) if (disk.readOnly) names.add(place(disk.path))
    // Where a disk goes when the snapshot is restored; today's machine may not have it.
    for (const disk of [...snapshot.disks, ...snapshot.settings.disks]) place(disk.path)
    for (const { file } of snapshot.disks) {
      if ([RECORD_FILE, STATE_FILE, SCREEN_FILE].includes(file)) throw badArchive(path, phrase('archive.noDiskCopy', { name: file }))
      names.add(snapshotFile(snapshot.id, file))
    }
    if (snapshot.hasState) names.add(snapshotFile(snapshot.id, STATE_FILE))
  }
  return names
}

/** Neither more nor less: a file that nothing speaks of could be one that Nestbox itself reads later. @throws ServiceError bad-archive */
function checkFiles(path: string, about: Bundle, files: ReadonlySet<string>): void {
  if (new Set(about.snapshots.map(({ id }) => id)).size !== about.snapshots.length) throw badArchive(path, phrase('archive.snapshotTwice'))
  const expected = filesOf(path, about)
  for (const name of expected) if (!files.has(name)) throw badArchive(path, phrase('archive.fileMissing', { name: printable(name) }))
  const optional = new Set([SAVED_STATE, ...about.snapshots.map(({ id }) => snapshotFile(id, SCREEN_FILE))])
  for (const name of files) if (!expected.has(name) && !optional.has(name) && !isMemoryFile(name)) throw badArchive(path, phrase('archive.fileStranger', { name: printable(name) }))
}

async function checkDiskFiles(path: string, { settings, snapshots }: Bundle, dir: string): Promise<void> {
  for (const disk of settings.disks) if (disk.format === 'qcow2') await requireStandalone(path, join(dir, disk.path))
  for (const snapshot of snapshots) {
    for (const disk of snapshot.settings.disks) {
      if (disk.format !== 'qcow2') continue
      const copy = snapshot.disks.find((entry) => entry.path === disk.path)
      await requireStandalone(path, join(dir, copy ? snapshotFile(snapshot.id, copy.file) : disk.path))
    }
  }
}

/** States build on one another: each gets the files it needs by their names. @throws ServiceError bad-archive where one is missing */
async function connectStates(path: string, dir: string, states: readonly string[]): Promise<void> {
  const { memory } = new SavedState(dir)
  const byId = new Map<string, string>()
  const needed = new Set<string>()
  for (const state of states) {
    // One that cannot be read is refused when it is started.
    const header = await readStateHeader(join(dir, state)).catch(() => undefined)
    if (header && header.id !== '') byId.set(header.id, state)
    for (const id of header?.bases ?? []) needed.add(id)
  }
  for (const id of needed) {
    if (existsSync(memory.pathOf(id))) continue
    const state = byId.get(id)
    if (state === undefined) throw badArchive(path, phrase('archive.fileMissing', { name: memoryFile(id) }))
    await makeFolder(memory.folder)
    await giveName(join(dir, state), memory.pathOf(id))
  }
}

async function fromNestbox(path: string, { dir, finalDir }: NewFolder, progress: Progress): Promise<ImportedMachine> {
  const head = await importArchive(path, dir, progress)
  const files = new Set(head.files.map(({ name }) => name))
  if (!files.has(BUNDLE_FILE)) throw badArchive(path, phrase('archive.fileMissing', { name: BUNDLE_FILE }))
  const about = await readBundle(path, dir)
  checkFiles(path, about, files)
  for (const { name, sizeBytes } of head.files) if (name.endsWith(`/${SCREEN_FILE}`) && sizeBytes > MAX_SCREEN) throw badArchive(path, phrase('archive.tooLong', { name }))
  await checkDiskFiles(path, about, dir)
  await connectStates(path, dir, [...files].filter((name) => name === SAVED_STATE || name.endsWith(`/${STATE_FILE}`)))
  const rename = (name: string): string => join(finalDir, ...name.split('/'))
  await makeFolder(join(dir, 'disks'))
  const store = new SnapshotStore(dir)
  for (const snapshot of about.snapshots) {
    await makeFolder(store.pathOf(snapshot.id))
    await store.write(snapshotWithPaths(snapshot, rename))
  }
  if (about.snapshots.length > 0) await store.setCurrent(about.current !== null && about.snapshots.some(({ id }) => id === about.current) ? about.current : null)
  await rm(join(dir, BUNDLE_FILE))
  const warnings: Phrase[] = []
  const settings = withPaths(about.settings, rename)
  if (!CPU_PROFILE_NAMES.includes(settings.cpuProfile)) warnings.push(phrase('import.cpuUnknown', { name: settings.cpuProfile, used: DEFAULT_SETTINGS.cpuProfile }))
  const cpuProfile = CPU_PROFILE_NAMES.includes(settings.cpuProfile) ? settings.cpuProfile : DEFAULT_SETTINGS.cpuProfile
  return { machine: { settings: { ...settings, cpuProfile }, ...(about.isTemplate && { isTemplate: true }) }, warnings }
}

function hardwareOf({ appliance }: ImportedOva, warnings: Phrase[]): Partial<MachineSettings> {
  const { memoryMiB, cpus, networks, directBoot } = appliance
  const wanted = memoryMiB === 0 ? DEFAULT_SETTINGS.memoryMiB : memoryMiB
  const memory = Math.min(LIMITS.memoryMaxMiB, Math.max(LIMITS.memoryMinMiB, wanted))
  if (memory !== wanted) warnings.push(phrase('import.memory', { wanted, memory }))
  if (cpus > 1) warnings.push(phrase('import.cpus', { count: cpus }))
  if (networks.length > 0) warnings.push(phrase('import.networks', { count: networks.length }))
  if (!directBoot) {
    warnings.push(phrase('import.needsFirmware'))
    return { memoryMiB: memory }
  }
  const isKnown = CPU_PROFILE_NAMES.includes(directBoot.cpuProfile)
  if (!isKnown) warnings.push(phrase('import.cpuUnknown', { name: directBoot.cpuProfile.slice(0, 40), used: DEFAULT_SETTINGS.cpuProfile }))
  return { memoryMiB: memory, commandLine: directBoot.commandLine.slice(0, 2047), ...(isKnown && { cpuProfile: directBoot.cpuProfile }) }
}

async function fromOva(path: string, { dir, finalDir }: NewFolder, progress: Progress): Promise<ImportedMachine> {
  await makeFolder(join(dir, 'disks'))
  const imported = await importOva(path, join(dir, 'disks'), progress)
  if (imported.disks.length > LIMITS.disks) throw new ServiceError('unsupported', phrase('import.tooManyDisks', { path, count: imported.disks.length }))
  const warnings = [...imported.warnings]
  const boot = async (from: string | undefined, name: string): Promise<string> => {
    if (from === undefined) return ''
    await makeFolder(join(dir, 'boot'))
    await rename(from, join(dir, 'boot', name))
    return join(finalDir, 'boot', name)
  }
  const settings = {
    name: nameAfter(imported.appliance.name, path), notes: imported.appliance.description.slice(0, LIMITS.notesLength), ...hardwareOf(imported, warnings),
    kernel: await boot(imported.kernelPath, 'kernel'), initrd: await boot(imported.initrdPath, 'initrd'),
    disks: imported.disks.map((disk) => ({ path: join(finalDir, 'disks', basename(disk.path)), format: 'raw' as const, readOnly: false })),
  }
  return { machine: { settings }, warnings }
}

/**
 * Fills a new machine's folder from the file.
 * @throws ServiceError bad-archive, bad-disk, checksum-mismatch, unsupported, disk-full, file-missing, file-unreadable; AbortError
 */
export async function importMachine(path: string, folder: NewFolder, progress: Progress): Promise<ImportedMachine> {
  return await kindOf(path) === 'nestbox' ? fromNestbox(path, folder, progress) : fromOva(path, folder, progress)
}

/**
 * Reads an OVA, or an OVF with its files beside it. The files go into a folder of ours under checked names, are held against the
 * manifest, and the disks are converted; nothing of the description reaches a path outside that folder.
 */
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { phrase, type Phrase } from '../../../preload/contract'
import type { ForeignImage } from '../../host/disks/formats/common/foreign-image'
import { writeRaw } from '../../host/disks/formats/common/write-raw'
import { foreignFormatOf, openForeignImage } from '../../host/disks/formats/foreign'
import { ServiceError } from '../errors'
import type { Progress } from '../types'
import type { Appliance, ApplianceDisk } from './appliance'
import { archiveError, badArchive } from './errors'
import { Digests, parseManifest, type ManifestEntry } from './manifest'
import { contentOf, forEachMember, nameTrouble, printable, utf8, type Member } from './members'
import { OvfError, parseOvf } from './ovf/read'
import { assembleFile, RESERVE_BYTES, WantedFiles } from './package-files'

const MAX_OVF = 4 << 20
const MAX_MANIFEST = 1 << 20
/** Unpacking, then converting. */
const UNPACK_SHARE = 0.4

export interface ImportedDisk {
  /** Raw image within the folder given. */
  readonly path: string
  readonly sizeBytes: number
  readonly from: ApplianceDisk
}

export interface Imported {
  readonly appliance: Appliance
  readonly disks: readonly ImportedDisk[]
  /** Within the folder given; undefined where the machine boots by firmware. */
  readonly kernelPath?: string
  readonly initrdPath?: string
  /** What could not be taken over or checked, for people. */
  readonly warnings: readonly Phrase[]
}

/** @throws ServiceError bad-archive, unsupported */
function describe(path: string, text: string): Appliance {
  let systems: Appliance[]
  try {
    systems = parseOvf(text)
  } catch (error) {
    if (error instanceof OvfError) throw badArchive(path, phrase('archive.ovfWrong', { detail: error.message }))
    throw error
  }
  if (systems.length > 1) throw new ServiceError('unsupported', phrase('archive.manySystems', { path, count: systems.length }))
  return systems[0]
}

function checkWanted(path: string, appliance: Appliance): WantedFiles {
  const wanted = new WantedFiles(appliance)
  for (const name of wanted.names) {
    const trouble = nameTrouble(name, false)
    if (trouble) throw badArchive(path, phrase('archive.ovfName', { name: printable(name), trouble }))
  }
  return wanted
}

/** What was unpacked, for the checks. */
class Unpacked {
  appliance: Appliance | undefined
  wanted = new WantedFiles()
  manifest: ReadonlyMap<string, ManifestEntry> | undefined
  readonly digests = new Map<string, ReadonlyMap<string, string>>()
  readonly files = new Set<string>()

  constructor(private readonly path: string, private readonly folder: string) {}

  private async store(member: Member, onBytes: (count: number) => void): Promise<void> {
    const known = this.manifest?.get(member.name)
    const digests = new Digests(this.manifest ? (known ? [known.algorithm] : []) : undefined)
    const file = this.wanted.has(member.name) ? await open(join(this.folder, member.name), 'wx', 0o600) : undefined
    try {
      for await (const part of member.content) {
        digests.update(part)
        for (let done = 0; file && done < part.length;) done += (await file.write(part, done)).bytesWritten
        onBytes(part.length)
      }
    } finally {
      await file?.close()
    }
    if (file) this.files.add(member.name)
    this.digests.set(member.name, digests.digest())
  }

  private async small(member: Member, limit: number): Promise<string> {
    const bytes = await contentOf(this.path, member, limit)
    const digests = new Digests()
    digests.update(bytes)
    this.digests.set(member.name, digests.digest())
    return utf8(this.path, member.name, bytes)
  }

  async take(member: Member, onBytes: (count: number) => void): Promise<void> {
    if (!this.appliance) {
      if (!/\.ovf$/i.test(member.name)) throw badArchive(this.path, phrase('archive.noOvfFirst', { name: member.name }))
      this.appliance = describe(this.path, await this.small(member, MAX_OVF))
      this.wanted = checkWanted(this.path, this.appliance)
    } else if (/\.mf$/i.test(member.name)) {
      if (this.manifest) throw badArchive(this.path, phrase('archive.twoManifests'))
      this.manifest = parseManifest(this.path, await this.small(member, MAX_MANIFEST))
    } else await this.store(member, onBytes)
  }

  /** @returns warnings @throws ServiceError bad-archive, checksum-mismatch */
  check(): Phrase[] {
    const missing = this.wanted.missing(this.files)
    if (missing !== undefined) throw badArchive(this.path, phrase('archive.fileMissing', { name: missing }))
    if (!this.manifest) return [phrase('import.noManifest')]
    for (const [name, { algorithm, digest }] of this.manifest) {
      const found = this.digests.get(name)
      if (!found) throw badArchive(this.path, phrase('archive.listedMissing', { name: printable(name) }))
      if (found.get(algorithm) !== digest) throw new ServiceError('checksum-mismatch', phrase('archive.manifestSum', { path: this.path, name }))
    }
    const unlisted = [...this.files].filter((name) => !this.manifest?.has(name))
    return unlisted.map((name) => phrase('import.notListed', { name }))
  }
}

/** The members of an OVF that is no archive: the description, its manifest, then the files it names. */
async function* filesBeside(path: string, signal: AbortSignal, state: Unpacked): AsyncGenerator<Member> {
  const folder = dirname(path)
  const member = async (name: string): Promise<Member & { close(): Promise<void> }> => {
    const handle = await open(join(folder, name), 'r')
    const stat = await handle.stat()
    if (!stat.isFile()) {
      await handle.close()
      throw badArchive(path, phrase('archive.besideNotFile', { name }))
    }
    const content = createReadStream('', { fd: handle, autoClose: false, signal, highWaterMark: 1 << 20 })
    return { name, size: stat.size, content, close: () => handle.close() }
  }
  const present = new Set(await readdir(folder))
  const own = basename(path)
  const names = [own, own.replace(/\.ovf$/i, '.mf')].filter((name) => present.has(name))
  for (let i = 0; i < names.length; i++) {
    const next = await member(names[i])
    try {
      yield next
    } finally {
      await next.close()
    }
    // Known once the description was read. A missing one is told by the check at the end.
    if (i === 0) names.push(...[...present].filter((name) => state.wanted.has(name) && !names.includes(name)).sort())
  }
}

async function unpack(path: string, folder: string, { signal, report }: Progress): Promise<Unpacked> {
  const state = new Unpacked(path, folder)
  const handle = await open(path, 'r')
  const total = await handle.stat().then(({ size }) => size).finally(() => handle.close())
  let bytes = 0
  const onBytes = (count: number): void => report((Math.min(1, (bytes += count) / total)) * UNPACK_SHARE, basename(path))
  if (/\.ovf$/i.test(path)) {
    for await (const member of filesBeside(path, signal, state)) await state.take(member, onBytes)
  } else {
    await forEachMember(path, false, signal, (member) => state.take(member, onBytes))
  }
  return state
}

/** Sparse disks of terabytes fit anywhere; what is stored must fit now. @throws ServiceError disk-full */
async function checkRoom(image: ForeignImage, folder: string): Promise<void> {
  const stats = await statfs(folder)
  const free = stats.bavail * stats.bsize - RESERVE_BYTES
  let needed = 0
  for (let at = 0; at < image.sizeBytes;) {
    const { length, zero } = await image.extent(at, image.sizeBytes - at)
    if (!zero) needed += length
    at += length
    if (needed > free) throw new ServiceError('disk-full', phrase('archive.noRoomForDisk', { folder, name: basename(image.source.files[0].path), free: Math.max(0, free) }))
  }
}

async function convert(path: string, source: string, target: string, progress: Progress, share: (part: number) => number): Promise<number> {
  const format = await foreignFormatOf(source)
  if (!format) throw new ServiceError('unsupported', phrase('archive.diskFormat', { path, name: basename(source) }))
  const image = await openForeignImage(source, format)
  try {
    await checkRoom(image, dirname(target))
    const onProgress = (done: number, total: number): void => progress.report(share(done / total), basename(source))
    await writeRaw({ sizeBytes: image.sizeBytes, read: (at, bytes) => image.read(at, bytes), extent: (at, length) => image.extent(at, length) }, target, { signal: progress.signal, onProgress })
    return image.sizeBytes
  } finally {
    await image.close()
  }
}

async function emptyDisk(path: string, target: string, { capacityBytes }: ApplianceDisk): Promise<number> {
  if (capacityBytes <= 0 || capacityBytes % 512 !== 0 || capacityBytes > 64 * 2 ** 40) throw badArchive(path, phrase('archive.emptyDisk', { size: capacityBytes }))
  const file = await open(target, 'wx', 0o600)
  await file.truncate(capacityBytes).finally(() => file.close())
  return capacityBytes
}

async function takeOver(path: string, working: string, folder: string, state: Unpacked, appliance: Appliance, progress: Progress): Promise<Imported> {
  const warnings = state.check()
  const disks: ImportedDisk[] = []
  const assembled = new Set<string>()
  for (const [i, from] of appliance.disks.entries()) {
    const target = join(folder, `disk${i}.img`)
    if (from.packing && !assembled.has(from.fileName)) {
      await assembleFile(path, working, from.fileName, from.packing, state.wanted.membersOf(from.fileName, state.files), progress.signal)
      assembled.add(from.fileName)
    }
    const share = (part: number): number => UNPACK_SHARE + (1 - UNPACK_SHARE) * ((i + part) / appliance.disks.length)
    const sizeBytes = from.fileName === '' ? await emptyDisk(path, target, from) : await convert(path, join(working, from.fileName), target, progress, share)
    if (from.capacityBytes !== 0 && sizeBytes !== from.capacityBytes) {
      warnings.push(phrase('import.diskSize', { name: from.fileName, size: sizeBytes, claimed: from.capacityBytes }))
    }
    disks.push({ path: target, sizeBytes, from })
  }
  const keep = async (name: string, as: string): Promise<string> => {
    await rename(join(working, name), join(folder, as))
    return join(folder, as)
  }
  const boot = appliance.directBoot
  const kernelPath = boot && boot.kernelFile !== '' ? await keep(boot.kernelFile, 'kernel') : undefined
  const initrdPath = boot && boot.initrdFile !== '' ? await keep(boot.initrdFile, 'initrd') : undefined
  return { appliance, disks, warnings, ...(kernelPath && { kernelPath }), ...(initrdPath && { initrdPath }) }
}

/**
 * Reads the package `path` and puts the disks (raw, with holes) and boot files into `folder`, an existing empty folder. What a
 * failure leaves there is the caller's to remove.
 * @throws ServiceError bad-archive, bad-disk, checksum-mismatch, unsupported, disk-full, file-missing, file-unreadable; AbortError
 */
export async function importOva(path: string, folder: string, progress: Progress): Promise<Imported> {
  const working = join(folder, '.unpacked')
  try {
    await mkdir(working, { mode: 0o700 })
    const state = await unpack(path, working, progress)
    const { appliance } = state
    if (!appliance) throw badArchive(path, phrase('archive.noOvf'))
    return await takeOver(path, working, folder, state, appliance, progress)
  } catch (error) {
    throw archiveError(error, path)
  } finally {
    await rm(working, { recursive: true, force: true }).catch(() => undefined)
  }
}

/**
 * Our own archive, `.nestbox`: a tar that begins with `nestbox.json` (what it holds, with sizes), then every file in numbered parts
 * of 16 MiB, each compressed on its own, and ends with `SHA256SUMS` of all members before it. Parts that are all zero are left
 * out. `tar`, `sha256sum -c` and `zcat` can take one apart.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { z } from 'zod'
import { phrase } from '../../../preload/contract'
import { isZero } from '../../host/disks/formats/common/write'
import { ServiceError, writeError } from '../errors'
import { invalidPhrase } from '../invalid-params'
import type { Progress } from '../types'
import { VERSION } from '../version'
import { archiveError, badArchive } from './errors'
import { contentOf, forEachMember, nameTrouble, printable, utf8, type Member } from './members'
import { writeTar, type TarWriter } from './tar-writer'

const gzipAsync = promisify<Uint8Array, { level: number }, Buffer>(gzip)
const gunzipAsync = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip)

export const HEAD = 'nestbox.json'
const SUMS = 'SHA256SUMS'
const PART_BYTES = 16 << 20
/** Fast, and near enough to the best for disks. */
const LEVEL = 3
/** Zeroes of this length become holes when a file is unpacked. */
const GRAIN = 64 << 10
const MAX_FILES = 10_000
const MAX_HEAD = 8 << 20
const MAX_SUMS = 32 << 20
const MAX_FILE_BYTES = 64 * 2 ** 40
const RESERVE_BYTES = 64 << 20
/** How often the free space is looked at. */
const CHECK_ROOM_EVERY = 16

const head = z.object({
  format: z.literal('nestbox-archive'),
  version: z.literal(1),
  /** ISO 8601. */
  createdAt: z.string().max(64),
  nestbox: z.string().max(64),
  name: z.string().max(1024),
  files: z.array(z.object({ name: z.string().max(255), sizeBytes: z.number().int().min(0).max(MAX_FILE_BYTES) })).max(MAX_FILES),
})
export type ArchiveHead = z.infer<typeof head>

/** Something of a known size that can be read anywhere. */
export interface ArchiveSource {
  readonly sizeBytes: number
  read(offset: number, target: Uint8Array): Promise<void>
  close(): Promise<void>
}

/** A file that goes in: one of the disk, bytes, or what is read as a file. */
export type ArchiveFile = { readonly name: string } & ({ readonly path: string } | { readonly data: Uint8Array } | { readonly open: () => Promise<ArchiveSource> })

interface Opened extends ArchiveSource {
  readonly name: string
}

async function openFile(file: ArchiveFile): Promise<Opened> {
  const { name } = file
  if ('data' in file) {
    const read = (offset: number, target: Uint8Array): Promise<void> => Promise.resolve(void target.set(file.data.subarray(offset, offset + target.length)))
    return { name, sizeBytes: file.data.length, read, close: () => Promise.resolve() }
  }
  if ('open' in file) {
    const source = await file.open()
    return { name, sizeBytes: source.sizeBytes, read: (offset, target) => source.read(offset, target), close: () => source.close() }
  }
  const handle = await open(file.path, 'r')
  const { size } = await handle.stat()
  const read = async (offset: number, target: Uint8Array): Promise<void> => {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await handle.read(target, done, target.length - done, offset + done)
      if (bytesRead === 0) throw new Error(`${file.path} became shorter while it was packed`)
      done += bytesRead
    }
  }
  return { name, sizeBytes: size, read, close: () => handle.close() }
}

const memberName = (file: string, part: number): string => `files/${file}/${String(part).padStart(7, '0')}.gz`
const MEMBER = /^files\/(.+)\/(\d{7})\.gz$/

async function packFiles(tar: TarWriter, files: readonly Opened[], progress: Progress, sum: (name: string, bytes: Uint8Array) => void): Promise<void> {
  const total = files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0)
  const buffer = new Uint8Array(PART_BYTES)
  let before = 0
  for (const file of files) {
    for (let offset = 0; offset < file.sizeBytes; offset += PART_BYTES) {
      progress.signal.throwIfAborted()
      const part = buffer.subarray(0, Math.min(PART_BYTES, file.sizeBytes - offset))
      await file.read(offset, part)
      if (!isZero(part)) {
        const packed = await gzipAsync(part, { level: LEVEL })
        const name = memberName(file.name, offset / PART_BYTES)
        sum(name, packed)
        await tar.add(name, packed.length, packed)
      }
      progress.report((before + offset + part.length) / total, file.name)
    }
    before += file.sizeBytes
  }
}

/**
 * Packs the files into a new archive, which replaces `target` when it is complete.
 * @param name of what is packed, for people
 * @throws ServiceError disk-full, library-read-only, …; AbortError; in each case the target is as it was
 */
export async function exportArchive(name: string, files: readonly ArchiveFile[], target: string, progress: Progress): Promise<void> {
  const opened: Opened[] = []
  try {
    for (const file of files) {
      const trouble = nameTrouble(file.name, true)
      if (trouble) throw new ServiceError('unsupported', phrase('archive.cannotPack', { name: printable(file.name), trouble }))
      opened.push(await openFile(file))
    }
    const about: ArchiveHead = {
      format: 'nestbox-archive', version: 1, createdAt: new Date().toISOString(), nestbox: VERSION, name, files: opened.map((file) => ({ name: file.name, sizeBytes: file.sizeBytes })),
    }
    const sums: string[] = []
    const sum = (member: string, bytes: Uint8Array): void => void sums.push(`${createHash('sha256').update(bytes).digest('hex')}  ${member}\n`)
    await writeTar(target, progress.signal, async (tar) => {
      const first = Buffer.from(`${JSON.stringify(about, null, 2)}\n`)
      sum(HEAD, first)
      await tar.add(HEAD, first.length, first)
      await packFiles(tar, opened, progress, sum)
      const last = Buffer.from(sums.join(''))
      await tar.add(SUMS, last.length, last)
    })
  } catch (error) {
    throw error instanceof Error && error.name === 'AbortError' ? error : writeError(error, target)
  } finally {
    for (const file of opened) await file.close()
  }
}

/** Unpacks one archive, member by member, in the order they must have. */
class Unpacker {
  about: ArchiveHead | undefined
  private readonly sizes = new Map<string, number>()
  private readonly sums = new Map<string, string>()
  private last = { file: '', part: -1 }
  private readonly begun = new Set<string>()
  private complete = false
  private parts = 0
  private done = 0
  private total = 0

  constructor(private readonly path: string, private readonly folder: string, private readonly progress: Progress) {}

  async take(member: Member): Promise<void> {
    if (this.complete) throw badArchive(this.path, phrase('archive.afterSums', { name: member.name }))
    if (!this.about) return this.begin(member)
    if (member.name === SUMS) return this.check(await contentOf(this.path, member, MAX_SUMS))
    const [, file, digits] = MEMBER.exec(member.name) ?? []
    const size = file === undefined ? undefined : this.sizes.get(file)
    if (file === undefined || size === undefined) throw badArchive(this.path, phrase('archive.stranger', { name: member.name }))
    await this.part(member, file, Number(digits), size)
  }

  private add(name: string, bytes: Uint8Array): void {
    this.sums.set(name, createHash('sha256').update(bytes).digest('hex'))
  }

  private async begin(member: Member): Promise<void> {
    if (member.name !== HEAD) throw badArchive(this.path, phrase('archive.wrongStart', { name: member.name, head: HEAD }))
    const bytes = await contentOf(this.path, member, MAX_HEAD)
    this.add(HEAD, bytes)
    this.about = parseHead(this.path, utf8(this.path, HEAD, bytes))
    for (const { name, sizeBytes } of this.about.files) {
      const trouble = nameTrouble(name, true)
      if (trouble) throw badArchive(this.path, phrase('archive.fileName', { name: printable(name), trouble }))
      if (this.sizes.has(name)) throw badArchive(this.path, phrase('archive.fileTwice', { name }))
      this.sizes.set(name, sizeBytes)
      this.total += sizeBytes
      await this.createFile(name, sizeBytes)
    }
  }

  private async createFile(name: string, sizeBytes: number): Promise<void> {
    const path = join(this.folder, name)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    // Exclusively: a second name for one file, on a file system that takes both for the same, is refused.
    const handle = await open(path, 'wx', 0o600)
    await handle.truncate(sizeBytes).finally(() => handle.close())
  }

  private async part(member: Member, file: string, index: number, size: number): Promise<void> {
    const isNext = file === this.last.file ? index > this.last.part : !this.begun.has(file)
    const offset = index * PART_BYTES
    if (!isNext || offset >= size) throw badArchive(this.path, phrase('archive.partMisplaced', { name: member.name }))
    this.last = { file, part: index }
    this.begun.add(file)
    const length = Math.min(PART_BYTES, size - offset)
    // What cannot be compressed grows by a thousandth and a few bytes.
    const packed = await contentOf(this.path, member, PART_BYTES + (PART_BYTES >> 8))
    this.add(member.name, packed)
    const bytes = await gunzipAsync(packed, { maxOutputLength: length }).catch((error: Error) => {
      throw badArchive(this.path, phrase('archive.partPacked', { name: member.name, detail: error.message }))
    })
    if (bytes.length !== length) throw badArchive(this.path, phrase('archive.partLength', { name: member.name, size: bytes.length, expected: length }))
    if (this.parts++ % CHECK_ROOM_EVERY === 0) await this.checkRoom()
    await this.store(file, offset, bytes)
    this.done += length
    this.progress.report(Math.min(1, this.done / this.total), file)
  }

  private async store(file: string, offset: number, bytes: Uint8Array): Promise<void> {
    const handle = await open(join(this.folder, file), 'r+')
    try {
      for (let at = 0; at < bytes.length;) {
        let end = at
        while (end < bytes.length && !isZero(bytes.subarray(end, end + GRAIN))) end = Math.min(bytes.length, end + GRAIN)
        for (let done = at; done < end;) done += (await handle.write(bytes, done, end - done, offset + done)).bytesWritten
        at = end + GRAIN
      }
    } finally {
      await handle.close()
    }
  }

  private async checkRoom(): Promise<void> {
    const { bavail, bsize } = await statfs(this.folder)
    if (bavail * bsize < RESERVE_BYTES + CHECK_ROOM_EVERY * PART_BYTES) {
      throw new ServiceError('disk-full', phrase('archive.noRoom', { folder: this.folder, path: this.path }), { path: this.folder })
    }
  }

  private check(bytes: Uint8Array): void {
    const expected = new Map<string, string>()
    for (const line of utf8(this.path, SUMS, bytes).split('\n')) {
      if (line === '') continue
      const [, digest, name] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? []
      if (name === undefined || expected.has(name)) throw badArchive(this.path, phrase('archive.sumsLine', { line: printable(line), file: SUMS }))
      expected.set(name, digest)
    }
    for (const [name, digest] of expected) {
      const found = this.sums.get(name)
      if (found === undefined) throw badArchive(this.path, phrase('archive.partMissing', { name: printable(name) }))
      if (found !== digest) throw new ServiceError('checksum-mismatch', phrase('archive.sumWrong', { path: this.path, name }))
    }
    for (const name of this.sums.keys()) if (!expected.has(name)) throw badArchive(this.path, phrase('archive.noSum', { name }))
    this.complete = true
  }

  finish(): ArchiveHead {
    if (!this.about || !this.complete) throw badArchive(this.path, phrase(this.about ? 'archive.cutOff' : 'archive.empty'))
    return this.about
  }
}

function parseHead(path: string, text: string): ArchiveHead {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw badArchive(path, phrase('archive.notJson', { name: HEAD }))
  }
  const { version } = z.object({ version: z.number() }).safeParse(json).data ?? {}
  if (version !== undefined && version > 1) throw new ServiceError('unsupported', phrase('archive.newerForm', { path, version }))
  const parsed = head.safeParse(json)
  if (!parsed.success) throw badArchive(path, phrase('archive.headWrong', { name: HEAD, field: parsed.error.issues[0].path.join('.'), detail: invalidPhrase(parsed.error.issues[0]) }))
  return parsed.data
}

/**
 * Unpacks into `folder`, an existing empty folder; holes stay holes. What a failure leaves there is the caller's to remove.
 * @throws ServiceError bad-archive, checksum-mismatch, unsupported, disk-full, file-missing, file-unreadable; AbortError
 */
export async function importArchive(path: string, folder: string, progress: Progress): Promise<ArchiveHead> {
  const unpacker = new Unpacker(path, folder, progress)
  try {
    await forEachMember(path, true, progress.signal, (member) => unpacker.take(member))
    return unpacker.finish()
  } catch (error) {
    throw archiveError(error, path)
  }
}

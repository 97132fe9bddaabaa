/** The files that a package's description asks for: which members they are in where they are split or compressed, and what they are then. */
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rename, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { phrase } from '../../../preload/contract'
import { ServiceError, systemCode, whyOf } from '../errors'
import type { Appliance, FilePacking } from './appliance'
import { badArchive } from './errors'

const CHUNK = /^(.+)\.(\d{9})$/s
const chunkName = (name: string, number: number): string => `${name}.${String(number).padStart(9, '0')}`

/** Left free on the file system. */
export const RESERVE_BYTES = 64 << 20
/** So often it is looked whether there is room still: what is packed does not say how much it is. */
const LOOK_BYTES = 16 << 20

export class WantedFiles {
  private readonly files = new Map<string, FilePacking | undefined>()

  constructor(appliance?: Pick<Appliance, 'disks' | 'directBoot'>) {
    for (const { fileName, packing } of appliance?.disks ?? []) this.files.set(fileName, packing)
    for (const name of [appliance?.directBoot?.kernelFile, appliance?.directBoot?.initrdFile]) if (name !== undefined) this.files.set(name, undefined)
    this.files.delete('')
  }

  get names(): string[] {
    return [...this.files.keys()]
  }

  /** Whether the member is one of them, or a part of one. */
  has(member: string): boolean {
    const [, name] = CHUNK.exec(member) ?? []
    if (name !== undefined && this.files.get(name)?.chunks !== undefined) return true
    return this.files.has(member) && this.files.get(member)?.chunks === undefined
  }

  /** The first member that is not there. */
  missing(present: ReadonlySet<string>): string | undefined {
    return this.names.flatMap((name) => this.membersOf(name, present)).find((member) => !present.has(member))
  }

  /** In their order. Where nobody says how many there are: all up to the last that is there. */
  membersOf(name: string, present: ReadonlySet<string>): string[] {
    const chunks = this.files.get(name)?.chunks
    if (chunks === undefined) return [name]
    const last = Math.max(0, ...[...present].map((member) => CHUNK.exec(member)).filter((found) => found?.[1] === name).map((found) => Number(found?.[2])))
    return Array.from({ length: chunks === 'unknown' ? Math.min(last, present.size) + 1 : chunks }, (_, i) => chunkName(name, i))
  }
}

/** Stops before the file system is full. @throws ServiceError disk-full */
async function* withRoom(path: string, folder: string, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let sinceLook = LOOK_BYTES
  for await (const part of content) {
    if ((sinceLook += part.length) > LOOK_BYTES) {
      sinceLook = 0
      const { bavail, bsize } = await statfs(folder)
      if (bavail * bsize < RESERVE_BYTES) throw new ServiceError('disk-full', phrase('archive.noRoom', { folder, path }))
    }
    yield part
  }
}

/** One after the other; each is removed once it was read. */
async function* contentOfAll(files: readonly string[], signal: AbortSignal): AsyncGenerator<Buffer> {
  for (const file of files) {
    for await (const part of createReadStream(file, { signal, highWaterMark: 1 << 20 })) yield part as Buffer
    await rm(file)
  }
}

/**
 * Puts a file together that is split, compressed, or both.
 * @param path of the package @param folder where the members are, and the file will be @param members its parts in their order
 * @throws ServiceError bad-archive, disk-full; system errors; AbortError
 */
export async function assembleFile(path: string, folder: string, name: string, { isGzip }: FilePacking, members: readonly string[], signal: AbortSignal): Promise<void> {
  // One that is not split has the same name packed and unpacked.
  const aside = await mkdtemp(join(folder, 'packed-'))
  const files = members.map((_, i) => join(aside, String(i)))
  for (const [i, member] of members.entries()) await rename(join(folder, member), files[i])
  const target = createWriteStream(join(folder, name), { flags: 'wx', mode: 0o600 })
  const bounded = (content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> => withRoom(path, folder, content)
  try {
    if (isGzip) await pipeline(contentOfAll(files, signal), createGunzip(), bounded, target, { signal })
    else await pipeline(contentOfAll(files, signal), bounded, target, { signal })
  } catch (error) {
    if (systemCode(error)?.startsWith('Z_')) throw badArchive(path, phrase('archive.partPacked', { name, detail: whyOf(error) }))
    throw error
  }
}

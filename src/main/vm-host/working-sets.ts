/**
 * Which pages guests needed first after they were continued, by the state they were continued from: at the next time these are
 * brought in before the rest. A list is a courtesy. One that is missing, damaged or of another version costs speed only, and it
 * can name nothing but pages of the state that it is used with.
 *
 *     0   magic, 8 bytes
 *     8   u32 version
 *     12  id of the state, 16 bytes
 *     28  u32 pages of the machine's memory
 *     32  u32 page numbers, in the order of their first touch
 *         u32 CRC-32 of all before
 *
 * All numbers little-endian. The lists are by id in a folder of their own and not beside the states' files: one state has many
 * names (a template's is in the folder of every machine made from it), and what one machine learns is of use to the others.
 */
import { mkdirSync, readFileSync, rmSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from '../host/crc32'
import { pruneFolder, replaceFile } from './cache-folder'

const MAGIC = 'NBSPAGES'
const VERSION = 1
const HEAD_BYTES = 32
const SUFFIX = '.pages'
/** Of all lists together; the longest unused go first. */
const MAX_BYTES = 8 << 20
/** Pages of one list: 64 MiB of the guest's memory. */
export const MOST_PAGES = 16384

const idBytes = (id: string): Buffer => Buffer.from(id.replaceAll('-', ''), 'hex')

export class WorkingSets {
  /** @param folder made when something is written */
  constructor(private readonly folder: string) {}

  private path(id: string): string {
    return join(this.folder, `${id}${SUFFIX}`)
  }

  /** Page numbers below `pageCount`; none where there is no list that can be used. @param id UUID of the state */
  load(id: string, pageCount: number): readonly number[] {
    const path = this.path(id)
    let file: Buffer
    try {
      file = readFileSync(path)
      utimesSync(path, new Date(), new Date())
    } catch {
      return []
    }
    const pages = decode(file, id, pageCount)
    if (!pages) rmSync(path, { force: true })
    return pages ?? []
  }

  /** @throws Node's system error where it cannot be written; an earlier list is still there then */
  save(id: string, pageCount: number, pages: readonly number[]): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 })
    replaceFile(this.path(id), encode(id, pageCount, pages.slice(0, MOST_PAGES)))
    pruneFolder(this.folder, SUFFIX, MAX_BYTES)
  }
}

function encode(id: string, pageCount: number, pages: readonly number[]): Buffer {
  const file = Buffer.alloc(HEAD_BYTES + 4 * pages.length + 4)
  file.write(MAGIC, 'latin1')
  file.writeUInt32LE(VERSION, 8)
  idBytes(id).copy(file, 12)
  file.writeUInt32LE(pageCount, 28)
  pages.forEach((page, i) => file.writeUInt32LE(page, HEAD_BYTES + 4 * i))
  file.writeUInt32LE(crc32(file.subarray(0, -4)), file.length - 4)
  return file
}

function decode(file: Buffer, id: string, pageCount: number): number[] | undefined {
  const count = (file.length - HEAD_BYTES - 4) / 4
  if (!Number.isInteger(count) || count < 0 || count > MOST_PAGES) return undefined
  const isOurs = file.toString('latin1', 0, 8) === MAGIC && file.readUInt32LE(8) === VERSION && file.readUInt32LE(file.length - 4) === crc32(file.subarray(0, -4))
  if (!isOurs || !file.subarray(12, 28).equals(idBytes(id)) || file.readUInt32LE(28) !== pageCount) return undefined
  const pages = Array.from({ length: count }, (_, i) => file.readUInt32LE(HEAD_BYTES + 4 * i))
  return pages.every((page) => page < pageCount) ? pages : undefined
}

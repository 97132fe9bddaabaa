/** Tar archives read as hostile input: names, kinds and numbers of members are checked before anybody sees one. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { extract } from 'tar-stream'
import { phrase, type Phrase } from '../../../preload/contract'
import { archiveError, badArchive } from './errors'

const MAX_MEMBERS = 100_000
const MAX_NAME = 255
const MAX_DEPTH = 8

export interface Member {
  readonly name: string
  readonly size: number
  readonly content: AsyncIterable<Uint8Array>
}

/**
 * Why the name cannot be used as a path below a folder of ours on every system; undefined for a good one.
 * @param nested whether folders are allowed in it
 */
export function nameTrouble(name: string, nested: boolean): Phrase | undefined {
  if (name === '' || name.length > MAX_NAME) return phrase('name.length')
  // What is not UTF-8 was decoded to this character.
  if (name.includes('\uFFFD')) return phrase('name.notUtf8')
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u001f\u007f\\:*?"<>|]/.test(name)) return phrase('name.characters')
  if (name.startsWith('/')) return phrase('name.absolute')
  const parts = name.split('/')
  if (parts.length > (nested ? MAX_DEPTH : 1)) return phrase(nested ? 'name.tooDeep' : 'name.hasFolder')
  for (const part of parts) {
    if (part === '' || part === '.' || part === '..') return phrase('name.elsewhere')
    if (/[. ]$/.test(part)) return phrase('name.badEnd')
  }
  return undefined
}

/** Two names are one where the file system does not tell case or composition apart. */
const key = (name: string): string => name.normalize('NFC').toLowerCase()

/**
 * Hands the members over in their order; each is read (or skipped) before the next. Nothing but plain files is let through.
 * @throws ServiceError bad-archive, file-missing, file-unreadable; AbortError
 */
export async function forEachMember(path: string, nested: boolean, signal: AbortSignal, visit: (member: Member) => Promise<void>): Promise<void> {
  const seen = new Set<string>()
  try {
    const stats = await stat(path)
    if (!stats.isFile()) throw badArchive(path, phrase('archive.notFile'))
    const total = stats.size
    const tar = extract()
    const file = createReadStream(path, { signal, highWaterMark: 1 << 20 })
    // Not `pipeline`: it would destroy the entry that is being read before its reader hears why.
    file.on('error', (error) => tar.destroy(error))
    file.pipe(tar)
    try {
      for await (const entry of tar) {
        const { name, size = 0, type } = entry.header
        if (type !== 'file' && type !== 'contiguous-file') throw badArchive(path, phrase('archive.memberKind', { name: printable(name), kind: type ?? 'thing unknown' }))
        const trouble = nameTrouble(name, nested)
        if (trouble) throw badArchive(path, phrase('archive.memberName', { name: printable(name), trouble }))
        if (seen.has(key(name))) throw badArchive(path, phrase('archive.memberTwice', { name }))
        if (seen.size === MAX_MEMBERS) throw badArchive(path, phrase('archive.tooManyMembers', { count: MAX_MEMBERS }))
        if (size > total) throw badArchive(path, phrase('archive.memberTooLarge', { name, size }))
        seen.add(key(name))
        // The library's types leave out that its streams can be iterated.
        await visit({ name, size, content: entry as unknown as AsyncIterable<Uint8Array> })
        entry.resume()
      }
    } finally {
      file.destroy()
      tar.destroy()
    }
  } catch (error) {
    // An entry that is cut off by the abort may complain of that first.
    throw signal.aborted ? signal.reason : archiveError(error, path)
  }
}

// eslint-disable-next-line no-control-regex -- a stranger's name must not steer the terminal it is shown on
export const printable = (name: string): string => name.slice(0, 100).replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')

/** A small member as a whole. @throws ServiceError bad-archive where it is longer than allowed */
export async function contentOf(path: string, member: Member, limit: number): Promise<Buffer> {
  if (member.size > limit) throw badArchive(path, phrase('archive.memberTooLong', { name: member.name, size: member.size, limit }))
  const parts: Uint8Array[] = []
  for await (const part of member.content) parts.push(part)
  return Buffer.concat(parts)
}

/** @throws ServiceError bad-archive where it is not UTF-8 */
export function utf8(path: string, name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw badArchive(path, phrase('archive.notUtf8', { name }))
  }
}

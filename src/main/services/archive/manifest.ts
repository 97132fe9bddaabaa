/** OVF manifests: a line `SHA256(file)= hex` for each file of the package. */
import { createHash, type Hash } from 'node:crypto'
import { phrase } from '../../../preload/contract'
import { badArchive } from './errors'

const ALGORITHMS: Readonly<Record<string, { readonly name: string; readonly digits: number }>> = {
  SHA1: { name: 'sha1', digits: 40 }, SHA256: { name: 'sha256', digits: 64 }, SHA512: { name: 'sha512', digits: 128 },
}
const LINE = /^(SHA\d+)\s*\((.+)\)\s*=\s*([0-9a-fA-F]+)$/

export interface ManifestEntry {
  /** Of `createHash`. */
  readonly algorithm: string
  /** Hex, small letters. */
  readonly digest: string
}

/** @throws ServiceError bad-archive */
export function parseManifest(path: string, text: string): Map<string, ManifestEntry> {
  const entries = new Map<string, ManifestEntry>()
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.trim()
    if (line === '') continue
    const match = LINE.exec(line)
    const algorithm = match && Object.hasOwn(ALGORITHMS, match[1]) ? ALGORITHMS[match[1]] : undefined
    if (!match || !algorithm || match[3].length !== algorithm.digits) throw badArchive(path, phrase('archive.manifestLine', { line: line.slice(0, 60) }))
    if (entries.has(match[2])) throw badArchive(path, phrase('archive.manifestTwice', { name: match[2].slice(0, 60) }))
    entries.set(match[2], { algorithm: algorithm.name, digest: match[3].toLowerCase() })
  }
  return entries
}

export const manifestLine = (name: string, sha256: string): string => `SHA256(${name})= ${sha256}\n`

/** Digests by every algorithm that a manifest yet to come may use, or by the one that is known. */
export class Digests {
  private readonly hashes: ReadonlyMap<string, Hash>

  constructor(algorithms: readonly string[] = Object.values(ALGORITHMS).map(({ name }) => name)) {
    this.hashes = new Map(algorithms.map((name) => [name, createHash(name)]))
  }

  update(bytes: Uint8Array): void {
    for (const hash of this.hashes.values()) hash.update(bytes)
  }

  digest(): ReadonlyMap<string, string> {
    return new Map([...this.hashes].map(([name, hash]) => [name, hash.digest('hex')]))
  }
}

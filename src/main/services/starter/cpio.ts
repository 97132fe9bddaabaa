/** Writes the archive form that Linux unpacks as its first file system ("newc", Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface ArchiveEntry {
  /** Without a leading slash. */
  readonly path: string
  /** Type and permission bits as in stat(2): 0o040755 a folder, 0o100755 an executable file. */
  readonly mode: number
  readonly data?: Uint8Array
}

const FOLDER = 0o040000

function header(index: number, { path, mode, data }: ArchiveEntry): Buffer {
  const name = Buffer.from(`${path}\0`)
  const links = (mode & 0o170000) === FOLDER ? 2 : 1
  // Everything belongs to root and has no date: the same files make the same archive.
  const fields = [index, mode, 0, 0, links, 0, data?.length ?? 0, 0, 0, 0, 0, name.length, 0]
  return Buffer.concat([Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}`), name])
}

const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])

/** Folders must come before what is in them. */
export function writeCpio(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.flatMap((entry, i) => [padded(header(i + 1, entry)), padded(entry.data ?? new Uint8Array())])
  return Buffer.concat([...parts, padded(header(0, { path: 'TRAILER!!!', mode: 0 }))])
}

/** Files that are a convenience: written whole, and kept from growing. */
import { readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * Of the files with this suffix the longest unused go, until all together have at most so many bytes.
 * @throws Node's system error where the folder cannot be read
 */
export function pruneFolder(folder: string, suffix: string, maxBytes: number): void {
  const files = readdirSync(folder).filter((name) => name.endsWith(suffix)).flatMap((name) => {
    const path = join(folder, name)
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat ? [{ path, bytes: stat.size, used: stat.mtimeMs }] : []
  })
  let total = 0
  for (const { path, bytes } of files.sort((a, b) => b.used - a.used)) {
    total += bytes
    if (total > maxBytes) rmSync(path, { force: true })
  }
}

/** Whole or not at all; an earlier file is still there where that fails. @throws Node's system error */
export function replaceFile(path: string, bytes: Uint8Array): void {
  const partial = partOf(path)
  try {
    writeFileSync(partial, bytes, PRIVATE)
    renameSync(partial, path)
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}

/** As `replaceFile`, written by Node's threads. Only one at a time of one path. */
export async function replaceFileAside(path: string, bytes: Uint8Array): Promise<void> {
  const partial = partOf(path)
  try {
    await writeFile(partial, bytes, PRIVATE)
    renameSync(partial, path)
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
}

const PRIVATE = { mode: 0o600 }
const partOf = (path: string): string => `${path}.${process.pid}.part`

/** Lists folders of this computer, so that a page without a native file dialog can offer one. */
import { readdir, realpath, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { FOLDER_ENTRIES_MAX, phrase, type Folder, type FolderEntry } from '../../preload/contract'
import { ServiceError, systemCode, whyOf } from './errors'

function refused(error: unknown, path: string): ServiceError {
  const code = systemCode(error)
  if (code === 'ENOENT') return new ServiceError('file-missing', phrase('file.noFolder', { path }), { path })
  if (code === 'EACCES' || code === 'EPERM') return new ServiceError('file-unreadable', phrase('file.mayNotLook', { path }), { path })
  return new ServiceError('file-unreadable', phrase('file.notListed', { path, cause: whyOf(error) }), { path })
}

/** @returns undefined for what is neither a file nor a folder, and for links that lead nowhere */
async function entryOf(folder: string, name: string): Promise<FolderEntry | undefined> {
  const path = join(folder, name)
  const about = await stat(path).catch(() => undefined)
  if (about?.isDirectory()) return { name, path, isFolder: true }
  return about?.isFile() ? { name, path, isFolder: false, bytes: about.size } : undefined
}

/** The folder itself, or the one a file is in. */
async function nearestFolder(path: string): Promise<string> {
  const real = await realpath(path)
  return (await stat(real)).isDirectory() ? real : dirname(real)
}

/** @param path absolute, of a folder or of a file in it; the home folder unless given @throws ServiceError invalid-argument, file-missing, file-unreadable */
export async function listFolder(path: string = homedir()): Promise<Folder> {
  if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('file.notFull', { path }), { path })
  try {
    const folder = await nearestFolder(path)
    const names = (await readdir(folder)).filter((name) => !name.startsWith('.')).sort((a, b) => a.localeCompare(b, undefined, { numeric: true }))
    const found = (await Promise.all(names.slice(0, FOLDER_ENTRIES_MAX).map((name) => entryOf(folder, name)))).filter((entry) => entry !== undefined)
    const parent = dirname(folder)
    return {
      path: folder, parent: parent === folder ? null : parent, isCut: names.length > FOLDER_ENTRIES_MAX,
      entries: [...found.filter((entry) => entry.isFolder), ...found.filter((entry) => !entry.isFolder)],
    }
  } catch (error) {
    throw error instanceof ServiceError ? error : refused(error, path)
  }
}

/** Checks of settings that need the computer: files and models that must exist. */
import { access, constants, stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { MachineSettings } from '../../preload/contract'
import { messageOf, ServiceError, systemCode } from './errors'
import { CPU_PROFILE_NAMES } from './library/defaults'

async function checkFile(what: string, path: string, mode: number): Promise<void> {
  if (!isAbsolute(path)) throw new ServiceError('invalid-argument', `The ${what} '${path}' must be given with its full path.`, { path })
  try {
    const stats = await stat(path)
    if (stats.isDirectory()) throw new ServiceError('file-unreadable', `The ${what} ${path} is a folder, not a file.`, { path })
    await access(path, mode)
  } catch (error) {
    if (error instanceof ServiceError) throw error
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new ServiceError('file-missing', `The ${what} ${path} does not exist.`, { path })
    throw new ServiceError('file-unreadable', `The ${what} ${path} cannot be used: ${messageOf(error)}`, { path })
  }
}

/** @throws ServiceError invalid-argument, file-missing, file-unreadable for the first thing in `changes` that cannot work */
export async function checkSettings(changes: Partial<MachineSettings>): Promise<void> {
  const { cpuProfile, kernel, initrd, disks } = changes
  if (cpuProfile !== undefined && !CPU_PROFILE_NAMES.includes(cpuProfile)) {
    throw new ServiceError('invalid-argument', `The CPU model '${cpuProfile}' is not known. Known are: ${CPU_PROFILE_NAMES.join(', ')}.`)
  }
  if (kernel !== undefined) await checkFile('kernel', kernel, constants.R_OK)
  if (initrd) await checkFile('initial RAM disk', initrd, constants.R_OK)
  for (const disk of disks ?? []) await checkFile('disk', disk.path, disk.readOnly ? constants.R_OK : constants.R_OK | constants.W_OK)
}

/** Checks of settings that need the computer: files and models that must exist. */
import { access, constants, stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { phrase, type MachineSettings, type Phrase } from '../../preload/contract'
import { ServiceError, systemCode, whyOf } from './errors'
import { CPU_PROFILE_NAMES } from './library/defaults'

async function checkFile(what: Phrase, path: string, mode: number): Promise<void> {
  if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('settings.notFull', { what, path }), { path })
  try {
    const stats = await stat(path)
    if (stats.isDirectory()) throw new ServiceError('file-unreadable', phrase('settings.isFolder', { what, path }), { path })
    await access(path, mode)
  } catch (error) {
    if (error instanceof ServiceError) throw error
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new ServiceError('file-missing', phrase('settings.missing', { what, path }), { path })
    throw new ServiceError('file-unreadable', phrase('settings.unusable', { what, path, cause: whyOf(error) }), { path })
  }
}

/** @throws ServiceError invalid-argument, file-missing, file-unreadable for the first thing in `changes` that cannot work */
export async function checkSettings(changes: Partial<MachineSettings>): Promise<void> {
  const { cpuProfile, kernel, initrd, disks } = changes
  if (cpuProfile !== undefined && !CPU_PROFILE_NAMES.includes(cpuProfile)) {
    throw new ServiceError('invalid-argument', phrase('settings.cpuUnknown', { name: cpuProfile, known: CPU_PROFILE_NAMES.join(', ') }))
  }
  if (kernel !== undefined) await checkFile(phrase('file.kernel'), kernel, constants.R_OK)
  if (initrd) await checkFile(phrase('file.initrd'), initrd, constants.R_OK)
  for (const disk of disks ?? []) await checkFile(phrase('file.disk'), disk.path, disk.readOnly ? constants.R_OK : constants.R_OK | constants.W_OK)
}

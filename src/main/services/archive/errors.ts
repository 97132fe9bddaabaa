/** What can be wrong with an archive or with the files around it. */
import { phrase, type PhraseValue } from '../../../preload/contract'
import { DiskFormatError } from '../../host/disks/formats/common/format-error'
import { hostSaid } from '../core-said'
import { messageOf, ServiceError, systemCode, writeError, whyOf } from '../errors'

/** Of what a stranger's archive holds: never the fault of this computer. */
export const badArchive = (path: string, why: PhraseValue): ServiceError => new ServiceError('bad-archive', phrase('archive.trouble', { path, why }), { path })

const READ_CODES = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM', 'EISDIR'])
const WRITE_CODES = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS'])

/** Whatever reading an archive threw, as the error to show. An abort stays what it is. */
export function archiveError(thrown: unknown, path: string): unknown {
  if (thrown instanceof ServiceError) return thrown
  if (thrown instanceof Error && thrown.name === 'AbortError') return thrown
  if (thrown instanceof DiskFormatError) return new ServiceError('bad-disk', hostSaid(thrown), { path: thrown.path, offset: thrown.offset })
  const code = systemCode(thrown) ?? ''
  if (WRITE_CODES.has(code)) return writeError(thrown, path)
  if (code === 'ENOENT' || code === 'ENOTDIR') return new ServiceError('file-missing', phrase('file.missing', { path }), { path })
  if (READ_CODES.has(code)) return new ServiceError('file-unreadable', phrase('file.unreadableWhy', { path, cause: whyOf(thrown) }), { path })
  return badArchive(path, messageOf(thrown))
}

/** Errors of the services: a code from the contract, what is said of it, details for the curious. */
import { inEnglish, isPhraseKey, phrase, type ErrorCode, type Phrase, type PhraseValue, type WireError } from '../../preload/contract'
import { hostSaid } from './core-said'

export class ServiceError extends Error {
  readonly phrase: Phrase | undefined

  /** @param said a phrase of ours; a string where it is somebody else's words, or said on the command line only */
  constructor(readonly code: ErrorCode, said: Phrase | string, readonly details?: unknown) {
    super(typeof said === 'string' ? said : inEnglish(said))
    this.name = 'ServiceError'
    this.phrase = typeof said === 'string' ? undefined : said
  }

  static fromWire({ code, message, phrase: said, details }: WireError): ServiceError {
    return new ServiceError(code, said ?? message, details)
  }

  toWire(): WireError {
    return { code: this.code, message: this.message, ...(this.phrase && { phrase: this.phrase }), ...(this.details === undefined ? {} : { details: this.details }) }
  }
}

const SYSTEM_CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'file-missing', ENOTDIR: 'file-missing', EACCES: 'file-unreadable', EPERM: 'file-unreadable', EISDIR: 'file-unreadable',
  EROFS: 'library-read-only', ENOSPC: 'disk-full', EDQUOT: 'disk-full', EFBIG: 'disk-full', ENOMEM: 'not-enough-memory',
}

/** The `code` of a Node system error, such as `ENOENT`. */
export function systemCode(thrown: unknown): string | undefined {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown))

/** Why something failed, to be put into a phrase: in our words where the system's error is a known one. */
export function whyOf(thrown: unknown): PhraseValue {
  if (thrown instanceof ServiceError && thrown.phrase) return thrown.phrase
  const key = `system.${systemCode(thrown) ?? ''}`
  return isPhraseKey(key) ? { key } : messageOf(thrown)
}

/** Whatever was thrown, as it crosses a transport. */
export function toWireError(thrown: unknown): WireError {
  if (thrown instanceof ServiceError) return thrown.toWire()
  if (thrown instanceof Error && thrown.name === 'AbortError') return new ServiceError('cancelled', phrase('task.aborted')).toWire()
  if (systemCode(thrown) === 'bad-disk') return badDisk(thrown).toWire()
  return ofSystem(thrown).toWire()
}

/** A disk image that cannot be read: the message says which and where. */
const badDisk = (thrown: unknown): ServiceError => new ServiceError('bad-disk', hostSaid(thrown))

/** An error of the system that nobody foresaw: the file it is about, and why in our words. */
function ofSystem(thrown: unknown): ServiceError {
  const code = SYSTEM_CODES[systemCode(thrown) ?? ''] ?? 'internal'
  const { path } = (thrown instanceof Error ? thrown : {}) as NodeJS.ErrnoException
  const why = whyOf(thrown)
  return new ServiceError(code, path === undefined || typeof why === 'string' ? messageOf(thrown) : phrase('file.trouble', { path, why }))
}

/** An error met while writing into the library, said so that a person knows what to do; or while reading the image that is copied. */
export function writeError(thrown: unknown, path: string): ServiceError {
  if (thrown instanceof ServiceError) return thrown
  switch (systemCode(thrown)) {
    case 'bad-disk': return badDisk(thrown)
    case 'ENOSPC': case 'EDQUOT': return new ServiceError('disk-full', phrase('write.full', { path }), { path })
    case 'EFBIG': return new ServiceError('disk-full', phrase('write.failed', { path, cause: whyOf(thrown) }), { path })
    case 'EROFS': case 'EACCES': case 'EPERM': return new ServiceError('library-read-only', phrase('write.readOnly', { path }), { path })
    case 'ENOTDIR': case 'EEXIST': return new ServiceError('library-read-only', phrase('write.notFolder', { path }), { path })
    default: return new ServiceError('internal', phrase('write.failed', { path, cause: whyOf(thrown) }), { path })
  }
}

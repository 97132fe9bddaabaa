/** Errors of the services: a code from the contract, a message for people. */
import type { ErrorCode, WireError } from '../../preload/contract'

export class ServiceError extends Error {
  constructor(readonly code: ErrorCode, message: string, readonly details?: unknown) {
    super(message)
    this.name = 'ServiceError'
  }

  toWire(): WireError {
    return { code: this.code, message: this.message, ...(this.details === undefined ? {} : { details: this.details }) }
  }
}

const SYSTEM_CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'file-missing', ENOTDIR: 'file-missing', EACCES: 'file-unreadable', EPERM: 'file-unreadable', EISDIR: 'file-unreadable',
  EROFS: 'library-read-only', ENOSPC: 'disk-full', EDQUOT: 'disk-full', ENOMEM: 'not-enough-memory',
}

/** The `code` of a Node system error, such as `ENOENT`. */
export function systemCode(thrown: unknown): string | undefined {
  const code = thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown))

/** Whatever was thrown, as it crosses a transport. */
export function toWireError(thrown: unknown): WireError {
  if (thrown instanceof ServiceError) return thrown.toWire()
  if (thrown instanceof Error && thrown.name === 'AbortError') return { code: 'cancelled', message: 'The work was cancelled.' }
  return { code: SYSTEM_CODES[systemCode(thrown) ?? ''] ?? 'internal', message: messageOf(thrown) }
}

/** An error met while writing into the library, said so that a person knows what to do. */
export function writeError(thrown: unknown, path: string): ServiceError {
  if (thrown instanceof ServiceError) return thrown
  switch (systemCode(thrown)) {
    case 'ENOSPC': case 'EDQUOT':
      return new ServiceError('disk-full', `There is no space left to write ${path}. Free some space and try again.`, { path })
    case 'EROFS': case 'EACCES': case 'EPERM':
      return new ServiceError('library-read-only', `${path} cannot be written: the folder is read-only for you. Set NESTBOX_HOME to another folder or change its permissions.`, { path })
    case 'ENOTDIR': case 'EEXIST':
      return new ServiceError('library-read-only', `${path} cannot be written: a file is where a folder should be.`, { path })
    default:
      return new ServiceError('internal', `${path} cannot be written: ${messageOf(thrown)}`, { path })
  }
}

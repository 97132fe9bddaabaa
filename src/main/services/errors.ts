/** The one error of the services: it crosses every transport as `{ code, message, details }`. */
import type { ErrorCode, WireError } from '../../preload/contract'

export class ServiceError extends Error {
  constructor(readonly code: ErrorCode, message: string, readonly details?: unknown, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ServiceError'
  }
}

const SYSTEM_CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'file-missing', EACCES: 'file-unreadable', EPERM: 'file-unreadable', EISDIR: 'file-unreadable', ENOTDIR: 'file-missing',
  EROFS: 'library-read-only', ENOSPC: 'disk-full', EDQUOT: 'disk-full', ENOMEM: 'not-enough-memory',
}

/** The `code` of a Node system error, such as `ENOENT`. */
export function systemCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Anything thrown, as it goes to a client. Unknown things become `internal`. */
export function toWireError(error: unknown): WireError {
  if (error instanceof ServiceError) {
    return { code: error.code, message: error.message, ...(error.details === undefined ? {} : { details: error.details }) }
  }
  if (error instanceof Error && error.name === 'AbortError') return { code: 'cancelled', message: 'cancelled' }
  const code = SYSTEM_CODES[systemCode(error) ?? '']
  return { code: code ?? 'internal', message: messageOf(error) }
}

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

/** Whatever was thrown, as it crosses a transport. */
export function toWireError(thrown: unknown): WireError {
  if (thrown instanceof ServiceError) return thrown.toWire()
  return { code: 'internal', message: thrown instanceof Error ? thrown.message : String(thrown) }
}

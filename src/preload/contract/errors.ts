/** Errors as they cross: a code to act on, a message for people. */
import { z } from 'zod'

export const ERROR_CODES = [
  'bad-request', 'not-found', 'name-taken', 'machine-running', 'machine-stopped', 'bad-settings', 'bad-kernel', 'no-memory',
  'disk-io', 'disk-in-use', 'disk-full', 'read-only', 'library-locked', 'library-damaged', 'machine-crashed', 'unsupported',
  'download-failed', 'checksum-mismatch', 'cancelled', 'internal',
] as const
export type ErrorCode = (typeof ERROR_CODES)[number]

export const wireError = z.object({ code: z.string(), message: z.string(), details: z.unknown().optional() })
export type WireError = z.infer<typeof wireError>

/** Thrown by services, rebuilt by clients. */
export class ContractError extends Error {
  constructor(readonly code: ErrorCode, message: string, readonly details?: unknown) {
    super(message)
    this.name = 'ContractError'
  }

  toWire(): WireError {
    return { code: this.code, message: this.message, ...(this.details === undefined ? {} : { details: this.details }) }
  }
}

const isErrorCode = (code: string): code is ErrorCode => (ERROR_CODES as readonly string[]).includes(code)

export function errorFromWire(wire: WireError): ContractError {
  return new ContractError(isErrorCode(wire.code) ? wire.code : 'internal', wire.message, wire.details)
}

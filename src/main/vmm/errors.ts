/** Codes a caller can act on; the message is for people. */
export type VmmErrorCode =
  | 'bad-config'
  | 'bad-kernel'
  | 'bad-state'
  | 'device-broken'
  | 'disk-full'
  | 'disk-io'
  | 'no-memory'
  | 'state-damaged'
  | 'state-mismatch'
  | 'triple-fault'
  | 'unsupported'

/** A failure outside the guest's architecture: host trouble, bad configuration or a file that cannot be used. */
export class VmmError extends Error {
  constructor(
    readonly code: VmmErrorCode,
    message: string,
    /** Values of the message by name, and `reason`: which message of its code it is, for whoever says it in another language. */
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(message)
    this.name = 'VmmError'
    if (options?.cause !== undefined) (this as { cause?: unknown }).cause = options.cause
  }
}

/** A broken invariant of ours. It stops this machine only, and is reported as a defect. */
export class BugError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'BugError'
  }
}

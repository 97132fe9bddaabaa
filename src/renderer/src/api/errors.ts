/** Errors as the contract carries them, made into one class the interface can rely on. */
import { phraseSchema, type Phrase } from './types'

export class ApiError extends Error {
  /** @param phrase the message for other languages */
  constructor(readonly code: string, message: string, readonly details?: unknown, readonly phrase?: Phrase) {
    super(message)
    this.name = 'ApiError'
  }
}

const hasCode = (value: unknown): value is { code: string; message?: unknown; details?: unknown; phrase?: unknown } =>
  typeof value === 'object' && value !== null && typeof (value as { code?: unknown }).code === 'string'

/** Whatever was thrown, as an {@link ApiError}; unknown things get the code `internal`. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown
  if (hasCode(thrown)) return new ApiError(thrown.code, String(thrown.message ?? thrown.code), thrown.details, phraseSchema.safeParse(thrown.phrase).data)
  return new ApiError('internal', thrown instanceof Error ? thrown.message : String(thrown))
}

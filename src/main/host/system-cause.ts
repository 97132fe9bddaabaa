/** Why the system refused something, for the details of an error. */

export interface SystemCause {
  /** In the system's words, without the call and the path that Node adds: the error names the file itself. */
  readonly detail: string
  /** Such as `ENOENT`: clients say it in their language. */
  readonly systemCode?: string
}

/** @param thrown whatever a call of the system ended with */
export function systemCauseOf(thrown: unknown): SystemCause {
  if (!(thrown instanceof Error)) return { detail: String(thrown) }
  const { code } = thrown as NodeJS.ErrnoException
  if (typeof code !== 'string') return { detail: thrown.message }
  // "ENOENT: no such file or directory, open '/a'"
  return { detail: /^[A-Z0-9_]+: ([^,]+)/.exec(thrown.message)?.[1] ?? thrown.message, systemCode: code }
}

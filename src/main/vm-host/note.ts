/** What a machine's process writes into the machine's log beside the English words: which message it is, and the values in it. */
import { DiskFormatError } from '../host/disks/formats/common/format-error'
import { VmmError } from '../vmm/errors'

/** @param details with the `reason`, a name of the contract's `LOG_PHRASES`, and the values that phrase names */
export type Note = (message: string, details: Readonly<Record<string, unknown>> & { readonly reason: string }) => void

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What went wrong as the value `detail`; with its own name and values where it is one of our messages. */
export function detailOf(error: unknown): { readonly detail: string; readonly cause?: unknown } {
  const cause = error instanceof VmmError || error instanceof DiskFormatError ? error.details : undefined
  return { detail: reasonOf(error), ...(cause === undefined ? {} : { cause }) }
}

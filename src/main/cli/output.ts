/** What commands print: tables for people, JSON for scripts, errors on standard error. */
import { inEnglish, phraseSchema, type ErrorCode } from '../../preload/contract'
import { toWireError } from '../services/errors'
import { ExitCode, exitCodeFor } from './exit-codes'

/** An error of the command line itself. */
export class CliError extends Error {
  constructor(readonly exitCode: number, message: string) {
    super(message)
  }
}

/** Scripts get what the manager says as plain text. */
function plain(_key: string, value: unknown): unknown {
  const known = phraseSchema.safeParse(value)
  return known.success ? inEnglish(known.data) : value
}

export const printJson = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, plain, 2)}\n`)

/** A message for people; nothing where the output is for scripts. */
export function say(json: boolean | undefined, text: string): void {
  if (!json) process.stdout.write(`${text}\n`)
}

/** Control characters in names and messages would command the terminal. */
export const printable = (text: string): string => text.replace(/\p{Cc}/gu, '\ufffd')

export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const all = [head, ...rows.map((row) => row.map(printable))]
  const widths = head.map((_, column) => Math.max(...all.map((row) => [...row[column]].length)))
  for (const row of all) {
    const cells = row.map((cell, column) => cell + ' '.repeat(widths[column] - [...cell].length))
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`)
  }
}

/** Tells what went wrong. @returns the exit code */
export function printError(thrown: unknown, json: boolean): number {
  if (thrown instanceof CliError) {
    report({ code: thrown.exitCode === ExitCode.TIMEOUT ? 'wrong-state' : 'invalid-argument', message: thrown.message }, json)
    return thrown.exitCode
  }
  const error = toWireError(thrown)
  report(error, json)
  return exitCodeFor(error.code)
}

function report({ code, message, details }: { code: ErrorCode; message: string; details?: unknown }, json: boolean): void {
  const error = { code, message, ...(details === undefined ? {} : { details }) }
  process.stderr.write(json ? `${JSON.stringify({ error })}\n` : `nestbox: ${error.message}\n`)
}

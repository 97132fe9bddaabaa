/** What the core and its host say, in our words: they know nothing of the contract, but tell which of their messages it is. */
import { isPhraseKey, namesIn, phrase, phraseText, type PhraseValue, type Said } from '../../preload/contract'

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

const isValue = (value: unknown): value is string | number => typeof value === 'string' || typeof value === 'number'

/** @param details of a VmmError, with its `reason` and the values of that message @returns the message where it is not one of ours */
export const coreSaid = (message: string, details: unknown): Said => saidIn('core', message, details)

/** The same of a line for a machine's log. @param part of the machine that says it, where it is not the machine as a whole */
export function logSaid(message: string, details: unknown, part?: string): Said {
  const what = saidIn('log', message, details)
  return part === undefined ? what : phrase('log.ofPart', { part, what })
}

function saidIn(family: 'core' | 'log', message: string, details: unknown): Said {
  if (!isRecord(details)) return message
  const key = `${family}.${String(details.reason)}`
  if (!isPhraseKey(key)) return message
  const cause = `system.${String(details.systemCode)}`
  const values: Record<string, PhraseValue> = {}
  for (const name of namesIn(phraseText(key))) {
    const value = details[name]
    if (name === 'detail' && isPhraseKey(cause)) values[name] = { key: cause }
    else if (name === 'detail' && isRecord(details.cause)) values[name] = coreSaid(String(value), details.cause)
    else if (!isValue(value)) return message
    else values[name] = value
  }
  return { key, values }
}

/** The same of whatever the code of the host threw. */
export const hostSaid = (thrown: unknown): Said =>
  coreSaid(thrown instanceof Error ? thrown.message : String(thrown), isRecord(thrown) ? thrown.details : undefined)

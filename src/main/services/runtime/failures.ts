/** What can go wrong with a machine's process, as errors of the contract and in words of ours. */
import { z } from 'zod'
import { phrase, type ErrorCode, type Phrase, type Said } from '../../../preload/contract'
import { ProcessEndError, SaveError, type ProcessEnd } from '../../engines/embedded/machine-process'
import type { Stalled } from '../../vm-host/protocol'
import { coreSaid } from '../core-said'
import { messageOf, ServiceError, whyOf, writeError } from '../errors'

/** Why a machine paused by itself, and what ends that. */
export function stallProblem({ cause, message, details }: Stalled): Phrase {
  const what = coreSaid(message, details)
  return cause === 'memory' ? phrase('run.memoryStall', { what }) : phrase('run.hostDiskStall', { what })
}

/** How the last run ended, for people. */
export function crashProblem({ message, phrase: known, report }: Extract<ProcessEnd, { kind: 'crashed' }>): Said {
  const what = known ?? message
  return report === undefined ? what : phrase('run.withReport', { what, report })
}

/** The same for the machine's log, of an end that is no crash. */
export function endSaid(end: ProcessEnd): Phrase {
  switch (end.kind) {
    case 'refused': return phrase('log.notStarted', { why: coreSaid(end.message, end.details) })
    case 'suspended': return phrase('log.suspended')
    default: return phrase('log.stopped')
  }
}

/** @param name of the machine */
export const endedMeanwhile = (name: string) => (error: unknown): never => {
  throw new ServiceError('machine-crashed', phrase('machine.notInspected', { name, cause: whyOf(error) }))
}

const SAVE_CODES: Readonly<Record<string, ErrorCode>> = { ended: 'machine-crashed', busy: 'machine-busy', 'disk-full': 'disk-full' }

/** Details of a `disk-io` that a file of the host's was the reason of. */
const fileFailure = z.object({ path: z.string(), errno: z.string() })

/** Why a state was not saved; the machine goes on. @param name of the machine */
export function saveFailure(error: unknown, name: string): ServiceError {
  if (error instanceof ServiceError) return error
  if (!(error instanceof SaveError)) return new ServiceError('internal', phrase('save.failed', { name, why: messageOf(error) }))
  const { code, message, details } = error
  if (code === 'cancelled') return new ServiceError('cancelled', phrase('save.cancelled'))
  const file = fileFailure.safeParse(details)
  if (file.success) return writeError(Object.assign(new Error(message), { code: file.data.errno }), file.data.path)
  return new ServiceError(SAVE_CODES[code] ?? 'internal', phrase('save.failed', { name, why: error.phrase ?? coreSaid(message, details) }))
}

const REFUSALS: Readonly<Record<string, ErrorCode>> = {
  'bad-kernel': 'bad-kernel', 'no-memory': 'not-enough-memory', 'disk-full': 'disk-full', 'disk-io': 'bad-disk', 'bad-disk': 'bad-disk', 'bad-config': 'invalid-argument', unsupported: 'unsupported',
  'state-mismatch': 'state-mismatch', 'state-damaged': 'state-damaged', 'bad-state': 'state-damaged',
}

/** Why a machine did not come to run. With a saved state that cannot be used, the other way is said too. */
export const startFailure = (error: unknown): ServiceError => failureOf(error, (why) => phrase('save.refused', { why }))

/** Why a machine would not run from a snapshot. */
export const notPrepared = (error: unknown): ServiceError => failureOf(error, (why) => phrase('snapshot.stateRefused', { why }))

/** @param ofState what is said of a state that cannot be used */
function failureOf(error: unknown, ofState: (why: Said) => Phrase): ServiceError {
  if (!(error instanceof ProcessEndError)) return new ServiceError('internal', messageOf(error))
  const { end } = error
  if (end.kind !== 'refused') return new ServiceError('machine-crashed', end.kind === 'crashed' ? end.phrase ?? end.message : phrase('run.stoppedAtOnce', { kind: end.kind }))
  const code = REFUSALS[end.code] ?? 'internal'
  const why = coreSaid(end.message, end.details)
  if (code === 'state-mismatch' || code === 'state-damaged') return new ServiceError(code, ofState(why), end.details)
  return new ServiceError(code, why)
}

/** Exit codes of the command; docs/cli.md lists them. Scripts rely on them: never change one. */
import type { ErrorCode } from '../../preload/contract'

export const ExitCode = {
  OK: 0, FAILED: 1, USAGE: 2, RESET: 3, TRIPLE_FAULT: 4, NOT_FOUND: 5, CONFLICT: 6, UNREACHABLE: 7, TIMEOUT: 8, DIFFERENCE: 9, QUIT: 130,
} as const

/** What a failed call means to the shell. */
export function exitCodeFor(code: ErrorCode): number {
  switch (code) {
    case 'invalid-argument': return ExitCode.USAGE
    case 'not-found': case 'file-missing': return ExitCode.NOT_FOUND
    case 'name-taken': case 'wrong-state': case 'machine-busy': case 'has-clones': return ExitCode.CONFLICT
    case 'library-locked': case 'disconnected': case 'unauthorized': return ExitCode.UNREACHABLE
    case 'cancelled': return ExitCode.QUIT
    default: return ExitCode.FAILED
  }
}

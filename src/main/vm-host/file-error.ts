/** Failures to write a file of the host's, said so that the manager can tell a full disk from another reason. */
import { VmmError } from '../vmm/errors'

/** @returns for an error of the system a VmmError `disk-io` whose details have `path` and `errno`; anything else as it is */
export function fileError(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof VmmError || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error
  return new VmmError('disk-io', `${path} cannot be written: ${message}`, { path, errno: code }, { cause: error })
}

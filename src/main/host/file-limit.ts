/** Limits on the size of files (`ulimit -f`): the write that meets one fails, and says so; the process goes on. */

const fileLimitReached = (): void => undefined

/** Node ignores the signal, but the package of the library's lock ends the process on every deadly one that nobody else hears. */
export function outliveFileLimits(): void {
  if (process.platform !== 'win32' && !process.listeners('SIGXFSZ').includes(fileLimitReached)) process.on('SIGXFSZ', fileLimitReached)
}

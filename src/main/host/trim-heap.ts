/**
 * Gives the computer back what is free in the C library's heap. glibc keeps every free piece that lies below one in use, and a machine's
 * busy time leaves dozens of megabytes of them. Its `malloc_trim` gives back whole pages from anywhere, but Node has no call for it; so a
 * shared object that the build writes has the loader call it (decision 6).
 */
import { writeFileSync } from 'node:fs'
import { objectThatCalls } from './init-object'

/** Name of the object, beside the programs. */
export const TRIM_OBJECT = 'malloc-trim.node'

/** Writes the object. @returns false where this platform needs none or it is not known how to make it */
export function writeTrimObject(path: string): boolean {
  // Its parameter is what to keep free at the end: as many bytes as the program has arguments.
  const bytes = process.platform === 'linux' ? objectThatCalls('malloc_trim') : undefined
  if (bytes) writeFileSync(path, bytes)
  return bytes !== undefined
}

/**
 * Takes some milliseconds for each hundred MiB that are free.
 * @param path what `writeTrimObject` wrote
 * @returns false where that was not possible: another C library, or no such file
 */
export function trimHeap(path: string): boolean {
  try {
    process.dlopen({ exports: {} }, path)
    return true
  } catch (error) {
    // The object was loaded, which is all, and put away again because it is no add-on.
    return error instanceof Error && error.message.includes('did not self-register')
  }
}

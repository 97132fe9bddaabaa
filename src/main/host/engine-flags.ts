/**
 * What V8 is told before it compiles anything that is kept: the same in every process, for code of one set of flags is no use under another.
 */
import { setFlagsFromString } from 'node:v8'
import { isMainThread } from 'node:worker_threads'

/** From this version on V8 reads branch hints by itself, and may not know the flag. */
const READS_BRANCH_HINTS = [13, 7] as const

let settled = false

/** Tells the engine, before a process reads or writes code that is kept. May be called again. */
export function settleEngineFlags(): void {
  // Flags are the process's: its first thread has settled them before it began another.
  if (settled || !isMainThread) return
  settled = true
  const [major, minor] = process.versions.v8.split('.').map(Number)
  const [atMajor, atMinor] = READS_BRANCH_HINTS
  // It is to read branch hints (decision 6).
  if (major < atMajor || (major === atMajor && minor < atMinor)) setFlagsFromString('--experimental-wasm-branch-hinting')
  // `compileWhole` sets this one and back, which V8 does not count as the same as never touched.
  setFlagsFromString('--no-liftoff')
  setFlagsFromString('--liftoff')
}

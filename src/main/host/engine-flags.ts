/** What V8 is told before it compiles wasm: the same in every process, for machine code of one set of flags is no use under another. */
import { setFlagsFromString } from 'node:v8'

/** From this version on V8 reads branch hints by itself, and may not know the flag. */
const READS_BRANCH_HINTS = [13, 7] as const

/** Has the engine read branch hints (decision 6). May be called again. */
export function setEngineFlags(): void {
  const [major, minor] = process.versions.v8.split('.').map(Number)
  const [atMajor, atMinor] = READS_BRANCH_HINTS
  if (major < atMajor || (major === atMajor && minor < atMinor)) setFlagsFromString('--experimental-wasm-branch-hinting')
}

/**
 * What V8 is told before it compiles anything that is kept: the same in every process, for code of one set of flags is no use under another.
 */
import { setFlagsFromString } from 'node:v8'
import { isMainThread } from 'node:worker_threads'

/** From this version on V8 reads branch hints by itself, and may not know the flag. */
const READS_BRANCH_HINTS = [13, 7] as const

/** From this version on the flag has another name and another unit (and later V8 has a compiler between the baseline's and the optimising one's). */
const COUNTS_INVOCATIONS = [11, 4] as const
/**
 * Bytes of bytecode a function runs before V8 optimises it, instead of 66 KiB: the thread that does it is the one that compiles
 * what the guest waits for (decision 6, "From hot to translated").
 */
const INTERRUPT_BUDGET = 600_000

let settled = false

const isBefore = ([major, minor]: readonly [number, number]): boolean => {
  const [ours, ourMinor] = process.versions.v8.split('.').map(Number)
  return ours < major || (ours === major && ourMinor < minor)
}

/** Tells the engine, before a process reads or writes code that is kept. May be called again. */
export function settleEngineFlags(): void {
  // Flags are the process's: its first thread has settled them before it began another.
  if (settled || !isMainThread) return
  settled = true
  // It is to read branch hints (decision 6).
  if (isBefore(READS_BRANCH_HINTS)) setFlagsFromString('--experimental-wasm-branch-hinting')
  if (isBefore(COUNTS_INVOCATIONS)) setFlagsFromString(`--interrupt-budget=${INTERRUPT_BUDGET}`)
  // `compileWhole` sets this one and back, which V8 does not count as the same as never touched: with it `--wasm-dynamic-tiering` goes, and
  // does not come back. So V8 optimises each function as soon as its baseline code is made, which is what code known to be hot wants
  // (decision 6, "From hot to translated").
  setFlagsFromString('--no-liftoff')
  setFlagsFromString('--liftoff')
}

/** Rows the native runner must not or cannot run, each with its reason. Everything else is compared with the real CPU. */
import type { InsnRow } from '../../src/main/vmm/cpu/isa/types'

const BY_MNEMONIC: Readonly<Record<string, string>> = {
  INT3: 'INT3 is what brings the runner back',
  INT: 'would call the kernel',
  INTO: 'a trap, not a fault: delivery is tested by the system kernels',
  SYSCALL: 'would call the kernel', SYSENTER: 'would call the kernel', SYSEXIT: 'privileged and leaves the process', SYSRET: 'privileged',
}

/** Why a row is not run on the real CPU; undefined where it is. */
export function nativeExclusion(row: InsnRow): string | undefined {
  if (row.noNative) return 'marked noNative in the table'
  return BY_MNEMONIC[row.mnemonic]
}

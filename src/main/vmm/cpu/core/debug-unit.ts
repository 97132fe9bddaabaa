/** What is done for single instructions: breakpoints, RF, steps, and looking at their bytes. SDM vol. 3, 18.2 to 18.4. */
import { instructionBreakpoints, isRepeatedString } from '../events/breakpoints'
import { decodeBy } from '../decode/decode'
import { MAX_LENGTH, Scan, type InsnScanner } from '../decode/scanner'
import { stepsOnBranches } from '../msr/table'
import type { CpuState } from '../state/access'
import { Mode } from '../state/mode'
import type { CodeFinder } from './code-finder'
import { CpuFault } from './context'
import type { CpuLinearMemory } from './linear'

const FLAG_RF = 1 << 16
/** Branches that may not be taken. */
const CONDITIONAL = /^(J(?!MP)|LOOP|INTO)/

const always = (): boolean => true
const never = (): boolean => false

export interface DebugUnitOptions {
  readonly state: CpuState
  readonly memory: CpuLinearMemory
  readonly code: CodeFinder
  readonly scanner: InsnScanner
}

export class DebugUnit {
  constructor(private readonly options: DebugUnitOptions) {}

  private linearRip(): bigint {
    const [lo, hi] = this.options.code.linearRip()
    return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
  }

  /** Instruction breakpoints at RIP, noted in DR6. True: #DB is to be raised before the instruction. */
  breaksHere(): boolean {
    const { state } = this.options
    const hits = instructionBreakpoints(state, this.linearRip())
    if (hits === 0) return false
    state.set64('dr', (state.get64('dr', 6) & ~0xfn) | BigInt(hits), 6)
    return true
  }

  /**
   * One instruction with RF set: it ends with the instruction, which for a repeated string is many entries. SDM vol. 3, 18.3.1.1.
   * @param enter into generated code, for that instruction alone
   */
  resume(enter: () => number): number {
    const { state } = this.options
    const rip = state.lo('rip')
    const clear = (): void => state.setLoHi('rflags', state.lo('rflags') & ~FLAG_RF, 0)
    const repeats = isRepeatedString(this.bytesHere(), (state.get('modeKey') & Mode.CODE64) !== 0)
    if (!repeats) clear()
    const exit = enter()
    if (repeats && state.lo('rip') !== rip) clear()
    return exit
  }

  /**
   * Of the instruction at RIP, which runs alone with TF set.
   * @returns tells once it has run whether a single-step trap follows. A conditional branch to the next instruction counts as not taken.
   */
  stepHere(): () => boolean {
    const { state, scanner } = this.options
    if (!stepsOnBranches(state)) return always
    const mode = state.get('modeKey')
    const decoded = decodeBy(scanner)(this.bytesHere(), 0, MAX_LENGTH, mode)
    if (!decoded.ok || (decoded.insn.row.ends !== 'branch' && decoded.insn.row.ends !== 'leave')) return never
    if (!CONDITIONAL.test(decoded.insn.row.mnemonic)) return always
    const width = (mode & Mode.CODE64) !== 0 ? 64 : (mode & Mode.CODE32) !== 0 ? 32 : 16
    const next = BigInt.asUintN(width, state.get64('rip') + BigInt(decoded.insn.length))
    return () => state.get64('rip') !== next
  }

  /** The longest instruction's bytes at RIP; zeros from an unmapped page on. The guest sees nothing of it. */
  bytesHere(): Uint8Array {
    const { state, memory } = this.options
    const bytes = new Uint8Array(MAX_LENGTH)
    const pending = state.get('pendingDebug')
    const cr2 = state.get64('cr2')
    try {
      memory.readBytes(this.linearRip(), bytes, 'system')
    } catch (error) {
      if (!(error instanceof CpuFault)) throw error
    }
    state.set64('cr2', cr2)
    state.set('pendingDebug', pending)
    return bytes
  }

  /** Name of the opcode at RIP where the table lacks it; undefined where it has it. */
  undefinedHere(): string | undefined {
    const { scanner, state } = this.options
    return scanner.scan(this.bytesHere(), 0, MAX_LENGTH, state.get('modeKey')) === Scan.UNDEFINED ? scanner.opcodeName() : undefined
  }
}

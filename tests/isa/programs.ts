/** Short straight programs: flags and registers flow from one instruction to the next, and a fault may come anywhere. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { formsOf, shapeOf } from '../../src/main/vmm/cpu/isa/forms'
import type { Form, InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { CaseBuilder } from './case-builder'
import type { IsaCase } from './engine'
import { nativeExclusion } from './exclusions'
import { MODE_KEYS, modesOf } from './generate'
import type { Random } from './random'
import { CODE_ROOM, type CpuMode } from './records'
import { flagMask } from './undefined'

/** Instructions some of whose results are undefined or differ between makers. */
const LEFT_OUT = /^(SHLD|SHRD|CMPXCHG|POPA|MASKMOV\w+|MOVSXD|ENTER|F\w+|RCP\w+|RSQRT\w+|POPF|LAR|LSL|VER[RW]|BSF|BSR|EMMS|LDMXCSR)$/

/** Rows that go on behind themselves. */
export function straightForms(rows: readonly InsnRow[], mode: CpuMode): readonly Form[] {
  const fit = rows.filter((row) => row.ends === undefined && !row.privileged && !row.addressSized && nativeExclusion(row) === undefined &&
    !LEFT_OUT.test(row.mnemonic) && !/^UD\d$/.test(row.mnemonic))
  return fit.flatMap((row) => formsOf(row)).filter((form) => modesOf(form).includes(mode))
}

class FlagTracker {
  /** Flags whose value is undefined at this point. */
  undefined = 0n

  reads(row: InsnRow): boolean {
    return (flagMask(row.flags?.reads ?? '') & this.undefined) !== 0n
  }

  after(row: InsnRow): void {
    const fresh = flagMask(row.flags?.undefined ?? '')
    // With undefined flags the writes may depend on a count: they define nothing for certain.
    if (fresh === 0n) this.undefined &= ~flagMask(row.flags?.writes ?? '')
    this.undefined |= fresh
  }
}

export interface Program extends IsaCase {
  readonly program: readonly Form[]
  /** RFLAGS bits nothing can be said about at the end, or at any fault on the way. */
  readonly undefinedFlags: bigint
}

export function makeProgram(forms: readonly Form[], mode: CpuMode, random: Random, decode: Decode): Program {
  const flags = new FlagTracker()
  const chosen: Form[] = []
  const code: number[] = []
  let everUndefined = 0n
  const wanted = 3 + random.below(14)
  const base = new CaseBuilder(random.pick(forms), mode, random).stateOnly()
  for (let tries = 0; chosen.length < wanted && tries < 200; tries++) {
    const form = random.pick(forms)
    if (flags.reads(form.row) || random.chance(shapeOf(form.row).encoding.map === 'one' ? 0 : 40)) continue
    const { bytes } = new CaseBuilder(form, mode, random, true).build()
    const result = decode(bytes, 0, bytes.length, MODE_KEYS[mode])
    if (!result.ok || result.insn.form !== form || result.insn.length !== bytes.length || usesFarMemory(result.insn.operands)) continue
    if (code.length + bytes.length > CODE_ROOM - 2) break
    code.push(...bytes)
    chosen.push(form)
    flags.after(form.row)
    everUndefined |= flags.undefined
  }
  base.code.fill(0xcc)
  base.code.set(code)
  base.mxcsr |= 0x1f80
  base.fcw = 0x37f
  base.fsw &= 0x7f00
  return { mode, input: base, length: code.length, form: chosen[0], insn: undefined, program: chosen, undefinedFlags: everUndefined }
}

/** GS moves addresses out of the window in 64-bit mode; ordinary overrides of the stack pointer's segment are fine. */
function usesFarMemory(operands: readonly { readonly kind: string; readonly segment?: number }[]): boolean {
  return operands.some((operand) => operand.kind === 'mem' && (operand.segment ?? 0) >= 4)
}

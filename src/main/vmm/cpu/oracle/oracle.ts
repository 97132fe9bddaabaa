/** One instruction at a time, evaluated with BigInt: what every engine's result is compared with. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Decode, DecodedInsn } from '../decode/types'
import type { InsnRow } from '../isa/types'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { INSTRUCTION_END, OracleEmitter } from './emitter'

export interface OracleOptions {
  /** Delivers an exception; `rip` is the faulting instruction. Default: throws the fault on to the caller of `step`. */
  readonly deliver?: (fault: CpuFault) => void
  /** Reads instruction bytes with execute rights. Default: as data. */
  readonly fetch?: (linear: bigint, target: Uint8Array) => void
}

export interface Oracle {
  /** Runs one instruction (a REP string instruction to its end), or delivers its exception. */
  step(): void
}

const PAGE = 4096
const MAX_INSN = 15

function checkUnit({ state }: CpuContext, unit: InsnRow['unit']): void {
  if (unit === undefined) return
  const cr0 = state.lo('cr0')
  const emulate = (cr0 & 4) !== 0
  if (unit === 'mmx' && emulate) throw new CpuFault(Vector.UD)
  if (unit === 'sse' && (emulate || !(state.lo('cr4') & 0x200))) throw new CpuFault(Vector.UD)
  if ((cr0 & 8) !== 0 || (unit === 'x87' && emulate)) throw new CpuFault(Vector.NM)
}

class EagerOracle implements Oracle {
  constructor(private readonly cpu: CpuContext, private readonly decode: Decode, private readonly options: OracleOptions) {}

  step(): void {
    try {
      this.execute()
    } catch (reason) {
      if (!(reason instanceof CpuFault) || !this.options.deliver) throw reason
      this.options.deliver(reason)
    }
  }

  private execute(): void {
    const { state } = this.cpu
    const rip = state.get64('rip')
    const insn = this.fetchInsn(rip)
    if (insn.row.privileged && state.get('cpl') !== 0) throw new CpuFault(Vector.GP, 0)
    checkUnit(this.cpu, insn.row.unit)
    const next = this.wrap(rip + BigInt(insn.length))
    try {
      insn.row.meaning(new OracleEmitter(this.cpu, insn, rip, next), insn.form)
      state.set64('rip', next)
    } catch (signal) {
      if (signal instanceof CpuFault) state.set64('rip', rip)
      if (signal !== INSTRUCTION_END) throw signal
    }
  }

  private is64(): boolean {
    return (this.cpu.state.get('modeKey') & Mode.CODE64) !== 0
  }

  private wrap(rip: bigint): bigint {
    return BigInt.asUintN(this.is64() ? 64 : 32, rip)
  }

  /** Fetches no byte of the next page unless the instruction reaches into it. */
  private fetchInsn(rip: bigint): DecodedInsn {
    const { state } = this.cpu
    const linear = this.wrap(state.get64('codeBase') + rip)
    const inPage = PAGE - Number(linear & 0xfffn)
    const bytes = new Uint8Array(MAX_INSN)
    const first = Math.min(MAX_INSN, inPage)
    this.fetch(linear, bytes.subarray(0, first))
    let result = this.decode(bytes, 0, first, state.get('modeKey'))
    if (!result.ok && result.kind === 'truncated' && first < MAX_INSN) {
      this.fetch(this.wrap(linear + BigInt(first)), bytes.subarray(first))
      result = this.decode(bytes, 0, MAX_INSN, state.get('modeKey'))
    }
    if (result.ok) {
      if (!this.is64() && rip + BigInt(result.insn.length - 1) > BigInt(state.get('segLimit', Seg.CS))) throw new CpuFault(Vector.GP, 0)
      return result.insn
    }
    if (result.kind === 'too-long' || result.kind === 'truncated') throw new CpuFault(Vector.GP, 0)
    if (result.kind === 'undefined') this.cpu.noteUnimplemented(result.name)
    throw new CpuFault(Vector.UD)
  }

  private fetch(linear: bigint, target: Uint8Array): void {
    if (this.options.fetch) this.options.fetch(linear, target)
    else this.cpu.memory.readBytes(linear, target)
  }
}

export function createOracle(context: CpuContext, decode: Decode, options: OracleOptions = {}): Oracle {
  return new EagerOracle(context, decode, options)
}

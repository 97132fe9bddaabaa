/** PUSHF and POPF: what privilege and virtual-8086 mode allow. SDM vol. 2, POPF, table 4-21. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import { Flag, packRflags, unpackRflags } from '../state/flags'

const iopl = (rflags: bigint): number => Number((rflags & Flag.IOPL) >> 12n)

function requireIoplInV86(rflags: bigint): void {
  if ((rflags & Flag.VM) !== 0n && iopl(rflags) < 3) throw new CpuFault(Vector.GP, 0)
}

export const pushFlagsHelper: Helper = {
  name: 'pushFlags', args: [], faults: true,
  run(cpu: CpuContext): void {
    requireIoplInV86(packRflags(cpu.state))
  },
}

const ALWAYS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT | Flag.AC | Flag.ID

/** Flags a POPF or IRET of `size` bits may change at the present privilege. */
export function changeableFlags(cpu: CpuContext, rflags: bigint, size: number): bigint {
  const cpl = cpu.state.get('cpl')
  let mask = ALWAYS
  if (cpl <= iopl(rflags)) mask |= Flag.IF
  if (cpl === 0) mask |= Flag.IOPL
  return size === 16 ? mask & 0xffffn : mask
}

export const popFlagsHelper: Helper = {
  name: 'popFlags', args: ['i64', 'i32'], faults: true,
  run(cpu: CpuContext, value: bigint, size: number): void {
    const old = packRflags(cpu.state)
    requireIoplInV86(old)
    const mask = changeableFlags(cpu, old, size)
    unpackRflags(cpu.state, (old & ~mask & ~Flag.RF) | (value & mask))
    cpu.modeChanged()
  },
}

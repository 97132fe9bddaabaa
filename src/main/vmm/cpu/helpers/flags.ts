/** PUSHF and POPF: what privilege and virtual-8086 mode allow. SDM vol. 2, POPF, table 4-21. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import { hasVme, setVirtualFlags, virtualFlags } from './system/virtual-interrupts'
import { Flag, packRflags, unpackRflags } from '../state/flags'

const iopl = (rflags: bigint): number => Number((rflags & Flag.IOPL) >> 12n)

/** In virtual-8086 mode below IOPL 3: VIF takes the place of IF in 16-bit images, where the extensions are on. @throws CpuFault #GP(0) */
function isVirtual(cpu: CpuContext, rflags: bigint, size: number): boolean {
  if ((rflags & Flag.VM) === 0n || iopl(rflags) === 3) return false
  if (size !== 16 || !hasVme(cpu.state)) throw new CpuFault(Vector.GP, 0)
  return true
}

/** VM and RF are never pushed as set. */
const PUSHED = 0xfc_ffffn

/** PUSHF in virtual-8086 mode: the image. */
export const pushFlagsHelper: Helper = {
  name: 'pushFlags', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, size: number): bigint {
    const rflags = packRflags(cpu.state)
    return isVirtual(cpu, rflags, size) ? BigInt(virtualFlags(cpu.state)) : rflags & PUSHED
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
    if (isVirtual(cpu, old, size)) return setVirtualFlags(cpu.state, Number(value & 0xffffn))
    const mask = changeableFlags(cpu, old, size)
    unpackRflags(cpu.state, (old & ~mask & ~Flag.RF) | (value & mask))
    cpu.modeChanged()
  },
}

/** Debug registers. SDM vol. 3, 18.2. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'

const CR4_DE = 1 << 3
const DR7_GD = 1 << 13
const DR6_BD = 1n << 13n
/** Bits that always read as one. */
const DR6_ONES = 0xffff_0ff0n
const DR6_WRITABLE = 0xe00fn
const DR7_ONES = 0x400n
const DR7_WRITABLE = 0xffff_23ffn

/** Register behind a number: DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE says they do not exist. @throws CpuFault #UD, #DB */
function resolve(cpu: CpuContext, index: number): number {
  const { state } = cpu
  if (index > 7 || ((index === 4 || index === 5) && (state.lo('cr4') & CR4_DE) !== 0)) throw new CpuFault(Vector.UD)
  if ((state.lo('dr', 7) & DR7_GD) !== 0) {
    state.set64('dr', state.get64('dr', 6) | DR6_BD, 6)
    throw new CpuFault(Vector.DB)
  }
  return index === 4 || index === 5 ? index + 2 : index
}

export const readDebugHelper: Helper = {
  name: 'readDebug', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, index: number): bigint {
    return cpu.state.get64('dr', resolve(cpu, index))
  },
}

export const writeDebugHelper: Helper = {
  name: 'writeDebug', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, index: number, value: bigint): void {
    const register = resolve(cpu, index)
    if (register >= 6 && value >> 32n !== 0n) throw new CpuFault(Vector.GP, 0)
    const stored = register === 6 ? (value & DR6_WRITABLE) | DR6_ONES : register === 7 ? (value & DR7_WRITABLE) | DR7_ONES : value
    cpu.state.set64('dr', stored, register)
    cpu.modeChanged()
  },
}

export const debugHelpers: readonly Helper[] = [readDebugHelper, writeDebugHelper]

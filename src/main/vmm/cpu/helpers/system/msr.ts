/** RDMSR, WRMSR, time-stamp counter, CPUID, random numbers. SDM vol. 2. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { Msr, readMsr, writeMsr } from '../../msr/table'
import { Gpr, offsetOf } from '../../state/layout'

const gp = (): never => { throw new CpuFault(Vector.GP, 0) }

export const readMsrHelper: Helper = {
  name: 'readMsr', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, index: number): bigint {
    return BigInt.asUintN(64, readMsr(cpu, index) ?? gp())
  },
}

export const writeMsrHelper: Helper = {
  name: 'writeMsr', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, index: number, value: bigint): void {
    if (!writeMsr(cpu, index, value)) gp()
    cpu.modeChanged()
  },
}

const CR4_TSD = 4

const AT_RAX = offsetOf('gpr', Gpr.RAX)
const AT_RDX = offsetOf('gpr', Gpr.RDX)
const AT_CR4 = offsetOf('cr4')
const AT_CPL = offsetOf('cpl')

/** RDTSC: EDX:EAX. */
export const readTscHelper: Helper = {
  name: 'readTsc', args: [], faults: true,
  run({ state, platform }: CpuContext): void {
    const { view } = state
    if ((view.getInt32(AT_CR4, true) & CR4_TSD) !== 0 && view.getInt32(AT_CPL, true) !== 0) gp()
    platform.readTscInto(view, AT_RAX, AT_RDX)
    view.setInt32(AT_RAX + 4, 0, true)
    view.setInt32(AT_RDX + 4, 0, true)
  },
}

const EDX_APIC = 1 << 9
const APIC_ENABLED = 0x800n

/** A local APIC that IA32_APIC_BASE switches off is no feature of the processor. SDM vol. 3, 11.4.3. */
function withoutApic({ platform }: CpuContext, leaf: number, edx: number): number {
  if ((leaf !== 1 && leaf !== 0x8000_0001) || ((platform.readMsr(Msr.APIC_BASE) ?? APIC_ENABLED) & APIC_ENABLED) !== 0n) return edx
  return edx & ~EDX_APIC
}

export const cpuidHelper: Helper = {
  name: 'cpuid', args: ['i32', 'i32'], faults: false,
  run(cpu: CpuContext, leaf: number, subleaf: number): void {
    const { state, model } = cpu
    const { eax, ebx, ecx, edx: features } = model.cpuid(leaf, subleaf, state)
    const edx = withoutApic(cpu, leaf, features)
    state.setLoHi('gpr', eax, 0, Gpr.RAX)
    state.setLoHi('gpr', ebx, 0, Gpr.RBX)
    state.setLoHi('gpr', ecx, 0, Gpr.RCX)
    state.setLoHi('gpr', edx, 0, Gpr.RDX)
  },
}

export const randomHelper: Helper = {
  name: 'random', args: [], returns: 'i64', faults: false,
  run({ platform }: CpuContext): bigint {
    return BigInt.asUintN(64, platform.random64())
  },
}

export const msrHelpers: readonly Helper[] = [readMsrHelper, writeMsrHelper, readTscHelper, cpuidHelper, randomHelper]

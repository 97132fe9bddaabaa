/** The CPU's outside, made of the board: ports, time-stamp counter, the MSRs of the local APIC and the paravirtual clock. */
import type { CpuPlatform } from '../cpu/core/context'
import type { EntropySource } from '../ports'
import type { Board } from './board'
import type { KvmClock } from './kvm-clock'

const IA32_APIC_BASE = 0x1b
const IA32_TSC_DEADLINE = 0x6e0
const X2APIC_FIRST = 0x800
const X2APIC_LAST = 0x8ff

export function createPlatform(board: Board, kvmClock: KvmClock, entropy: EntropySource): CpuPlatform {
  const { io, tsc, interrupts: { lapic } } = board
  const random = new Uint8Array(8)
  const randomView = new DataView(random.buffer)
  return {
    portIn: (port, size) => io.read(port, size),
    portOut: (port, size, value) => io.write(port, size, value),
    readTsc: () => tsc.read(),
    readTscInto: (view, low, high) => tsc.readInto(view, low, high),
    writeTsc: (value) => {
      tsc.write(value)
      kvmClock.refresh()
    },
    readMsr(index) {
      if (index === IA32_APIC_BASE) return lapic.apicBase
      if (index === IA32_TSC_DEADLINE) return lapic.tscDeadline
      if (index >= X2APIC_FIRST && index <= X2APIC_LAST) return lapic.readMsr(index - X2APIC_FIRST)
      return kvmClock.readMsr(index)
    },
    writeMsr(index, value) {
      if (index === IA32_APIC_BASE) return lapic.writeApicBase(value)
      if (index === IA32_TSC_DEADLINE) {
        lapic.writeTscDeadline(value)
        return true
      }
      if (index >= X2APIC_FIRST && index <= X2APIC_LAST) return lapic.writeMsr(index - X2APIC_FIRST, value)
      return kvmClock.writeMsr(index, value)
    },
    readTpr: () => lapic.taskPriority >> 4,
    writeTpr: (value) => (lapic.taskPriority = value << 4),
    random64() {
      entropy.fill(random)
      return randomView.getBigUint64(0, true)
    },
  }
}

/** The helper behind CRC32 (SDM vol. 2). */
import type { CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'

const CRC32C_REFLECTED = 0x82f63b78

/** CRC-32C over the low `bits` of a value, polynomial 11EDC6F41, bit-reflected. */
export const crc32Helper: Helper = {
  name: 'crc32', args: ['i32', 'i64', 'i32'], returns: 'i32', faults: false, isolated: true,
  common: (e) => {
    const register = e.variable(64, e.xor(e.zext(e.argument(0), 64), e.argument(1)))
    const left = e.variable(32, e.argument(2))
    e.loop((control) => {
      const lowest = e.neg(e.and(register.get(), e.const(64, 1)))
      register.set(e.xor(e.shr(register.get(), e.const(64, 1)), e.and(lowest, e.const(64, CRC32C_REFLECTED))))
      left.set(e.sub(left.get(), e.const(32, 1)))
      e.if(e.isZero(left.get()), () => control.break())
      control.continue()
    })
    e.finish(e.trunc(register.get(), 32))
  },
  run(_cpu: CpuContext, start: number, value: bigint, bits: number): number {
    let crc = start >>> 0
    for (let i = 0; i < bits; i += 8) {
      crc ^= Number((value >> BigInt(i)) & 0xffn)
      for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? CRC32C_REFLECTED : 0)
    }
    return crc >>> 0
  },
}

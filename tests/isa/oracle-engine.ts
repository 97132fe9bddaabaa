/** The BigInt oracle as an engine. */
import { CpuFault, Vector, type CpuContext, type LinearMemory, type Privilege } from '../../src/main/vmm/cpu/core/context'
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { createOracle } from '../../src/main/vmm/cpu/oracle/oracle'
import { CpuState } from '../../src/main/vmm/cpu/state/access'
import { STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { updateDerivedState } from '../../src/main/vmm/cpu/state/mode'
import type { IsaCase, IsaEngine } from './engine'
import { fullModel, silentPlatform } from './environment'
import { CaseMemory, freshBlocks, KERNEL, Page, PAGE, RAM_BYTES, unwind } from './kernel'
import { CODE_BASE, CODE_BYTES, DATA_BASE, DATA_BYTES, IsaRecord, loadState, storeState } from './records'

interface Access { readonly write?: boolean; readonly fetch?: boolean; readonly privilege?: Privilege }

/** The pages of `kernel.ts`, mapped as its page tables do; everything else faults as absent. */
class TestMemory implements LinearMemory {
  readonly ram = new Uint8Array(RAM_BYTES)
  readonly kernel = new CaseMemory(this.ram)

  constructor(private readonly state: CpuState) {}

  /** Index of a byte in `ram`. */
  private at(linear: bigint, { write, fetch, privilege }: Access = {}): number {
    if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== BigInt.asUintN(64, linear)) throw new CpuFault(Vector.GP, 0)
    const address = Number(linear)
    const isUser = privilege === 'user' || (privilege !== 'system' && this.state.get('cpl') === 3)
    const isKernel = linear >= KERNEL && linear < KERNEL + BigInt(RAM_BYTES)
    if (address >= CODE_BASE && address < CODE_BASE + CODE_BYTES) return Page.CODE * PAGE + address - CODE_BASE
    if (address >= DATA_BASE && address < DATA_BASE + DATA_BYTES && !fetch) return Page.DATA * PAGE + address - DATA_BASE
    if (isKernel && !isUser) return Number(linear - KERNEL)
    this.state.set64('cr2', linear)
    throw new CpuFault(Vector.PF, (isUser ? 4 : 0) | (write ? 2 : 0) | (fetch ? 0x10 : 0) | (isKernel ? 1 : 0))
  }

  private byte(linear: bigint, privilege?: Privilege): number {
    return this.ram[this.at(linear, { privilege })]
  }

  probe(linear: bigint, length: number, write: boolean, privilege?: Privilege): void {
    for (let i = 0; i < length; i++) this.at(linear + BigInt(i), { write, privilege })
  }

  read(linear: bigint, size: 1 | 2 | 4, privilege?: Privilege): number {
    let value = 0
    for (let i = 0; i < size; i++) value += this.byte(linear + BigInt(i), privilege) * 2 ** (8 * i)
    return value
  }

  read64(linear: bigint, privilege?: Privilege): bigint {
    return BigInt(this.read(linear, 4, privilege)) | (BigInt(this.read(linear + 4n, 4, privilege)) << 32n)
  }

  write(linear: bigint, size: 1 | 2 | 4, value: number, privilege?: Privilege): void {
    const bytes = new Uint8Array(size)
    for (let i = 0; i < size; i++) bytes[i] = value >>> (8 * i)
    this.writeBytes(linear, bytes, privilege)
  }

  write64(linear: bigint, value: bigint, privilege?: Privilege): void {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, value, true)
    this.writeBytes(linear, bytes, privilege)
  }

  readBytes(linear: bigint, target: Uint8Array, privilege?: Privilege): void {
    for (let i = 0; i < target.length; i++) target[i] = this.byte(linear + BigInt(i), privilege)
  }

  writeBytes(linear: bigint, source: Uint8Array, privilege?: Privilege): void {
    this.probe(linear, source.length, true, privilege)
    source.forEach((byte, i) => { this.ram[this.at(linear + BigInt(i), { write: true, privilege })] = byte })
  }

  /** No direct view: every access is checked byte by byte. */
  directBytes(): undefined { return undefined }

  fetch(linear: bigint, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.ram[this.at(linear + BigInt(i), { fetch: true })]
  }
}

export function createOracleEngine(decode: Decode): IsaEngine {
  const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  const memory = new TestMemory(state)
  const cpu: CpuContext = {
    state, memory, platform: silentPlatform, model: fullModel, flushTlb: () => {}, invalidatePage: () => {},
    modeChanged: () => updateDerivedState(state), noteUnimplemented: () => {},
  }
  const faults: CpuFault[] = []
  const oracle = createOracle(cpu, decode, {
    deliver: (reason) => { faults.push(reason) }, fetch: (linear, target) => memory.fetch(linear, target),
  })
  const freshBlock = freshBlocks()
  const runOne = (one: IsaCase): IsaRecord => {
    const { input, length } = one
    const result = new IsaRecord()
    loadState(state, freshBlock(one), input)
    memory.kernel.load(one)
    faults.length = 0
    const inside = (rip: bigint): boolean => rip >= input.rip && rip < input.rip + BigInt(length)
    do oracle.step()
    while (one.program && faults.length === 0 && inside(state.get64('rip')))
    const fault = faults.at(0)
    storeState(state, result)
    if (fault) {
      result.vector = fault.vector
      result.error = fault.errorCode ?? 0
      result.cr2 = fault.vector === Vector.PF ? state.get64('cr2') : 0n
    } else unwind(one, state, memory.ram, result)
    memory.kernel.takeWindow(result)
    return result
  }
  return {
    name: 'oracle',
    run(cases) {
      const results = cases.map(runOne)
      memory.kernel.check()
      return results
    },
  }
}

/** The BigInt oracle as an engine. */
import { CpuFault, Vector, type CpuContext, type LinearMemory } from '../../src/main/vmm/cpu/core/context'
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { createOracle } from '../../src/main/vmm/cpu/oracle/oracle'
import { CpuState } from '../../src/main/vmm/cpu/state/access'
import { STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { updateDerivedState } from '../../src/main/vmm/cpu/state/mode'
import type { IsaCase, IsaEngine } from './engine'
import { fullModel, silentPlatform } from './environment'
import {
  CODE_BASE, CODE_BYTES, DATA_BASE, DATA_BYTES, IsaRecord, loadState, NO_VECTOR, storeState, WINDOW, WINDOW_BYTES,
} from './records'

/** The mapped pages; everything else faults as an absent user page. */
class TestMemory implements LinearMemory {
  readonly code = new Uint8Array(CODE_BYTES)
  readonly data = new Uint8Array(DATA_BYTES)

  constructor(private readonly state: CpuState) {}

  private at(linear: bigint, write: boolean, fetch: boolean): [Uint8Array, number] {
    const address = Number(linear)
    if (address >= CODE_BASE && address < CODE_BASE + CODE_BYTES) return [this.code, address - CODE_BASE]
    if (address >= DATA_BASE && address < DATA_BASE + DATA_BYTES) return [this.data, address - DATA_BASE]
    this.state.set64('cr2', linear)
    throw new CpuFault(Vector.PF, 4 | (write ? 2 : 0) | (fetch ? 0x10 : 0))
  }

  private byte(linear: bigint): number {
    const [bytes, at] = this.at(linear, false, false)
    return bytes[at]
  }

  probe(linear: bigint, length: number, write: boolean): void {
    for (let i = 0; i < length; i++) this.at(linear + BigInt(i), write, false)
  }

  read(linear: bigint, size: 1 | 2 | 4): number {
    let value = 0
    for (let i = 0; i < size; i++) value += this.byte(linear + BigInt(i)) * 2 ** (8 * i)
    return value
  }

  read64(linear: bigint): bigint {
    return BigInt(this.read(linear, 4)) | (BigInt(this.read(linear + 4n, 4)) << 32n)
  }

  write(linear: bigint, size: 1 | 2 | 4, value: number): void {
    const bytes = new Uint8Array(size)
    for (let i = 0; i < size; i++) bytes[i] = value >>> (8 * i)
    this.writeBytes(linear, bytes)
  }

  write64(linear: bigint, value: bigint): void {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, value, true)
    this.writeBytes(linear, bytes)
  }

  readBytes(linear: bigint, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) target[i] = this.byte(linear + BigInt(i))
  }

  writeBytes(linear: bigint, source: Uint8Array): void {
    this.probe(linear, source.length, true)
    source.forEach((byte, i) => {
      const [bytes, at] = this.at(linear + BigInt(i), true, false)
      bytes[at] = byte
    })
  }

  /** No direct view: every access is checked byte by byte. */
  directBytes(): undefined { return undefined }

  fetch(linear: bigint, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) {
      const [bytes, at] = this.at(linear + BigInt(i), false, true)
      target[i] = bytes[at]
    }
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
  const runOne = ({ input, mode, length }: IsaCase): IsaRecord => {
    const result = new IsaRecord()
    state.bytes.fill(0)
    loadState(state, input, mode)
    const codeAt = Number(input.rip) + (mode === 16 ? CODE_BASE : 0) - CODE_BASE
    memory.code.fill(0xcc)
    memory.code.set(input.code.subarray(0, length), codeAt)
    memory.data.fill(0)
    memory.data.set(input.window, WINDOW - DATA_BASE)
    faults.length = 0
    oracle.step()
    const fault = faults.at(0)
    storeState(state, result)
    result.vector = fault ? fault.vector : NO_VECTOR
    result.error = fault?.errorCode ?? 0
    result.cr2 = fault?.vector === Vector.PF ? state.get64('cr2') : 0n
    result.window.set(memory.data.subarray(WINDOW - DATA_BASE, WINDOW - DATA_BASE + WINDOW_BYTES))
    return result
  }
  return { name: 'oracle', run: (cases) => cases.map(runOne) }
}

/** A PCI function: 256 bytes of configuration, memory BARs, capabilities, MSI-X. PCI Local Bus 3.0, chapter 6. */
import { BugError, VmmError } from '../../errors'
import type { AccessSize, AddressSpace, DeviceState, IoHandler, IrqLine, MsiSink } from '../../bus/types'
import type { ConfigSpace } from './bus'

const Config = {
  vendor: 0, device: 2, command: 4, status: 6, revision: 8, progIf: 9, subclass: 10, classCode: 11, headerType: 14, bar0: 0x10,
  subVendor: 0x2c, subDevice: 0x2e, capabilities: 0x34, interruptLine: 0x3c, interruptPin: 0x3d,
} as const
const COMMAND_MEMORY = 2
const COMMAND_INTX_OFF = 0x400
const STATUS_INTERRUPT = 8
const STATUS_CAPABILITIES = 0x10
const MSIX_ENABLE = 0x8000
const MSIX_MASK_ALL = 0x4000

export interface PciIdentity {
  readonly vendor: number
  readonly device: number
  readonly classCode: number
  readonly subclass: number
  readonly revision: number
  readonly subVendor?: number
  readonly subDevice?: number
}

interface Bar {
  readonly size: number
  readonly handler: IoHandler
  readonly name: string
  /** Where it is mapped, while it is. */
  at?: number
  unmap?: () => void
}

export interface PciEnvironment {
  readonly memory: AddressSpace
  readonly msi: MsiSink
  /** INTA# of the function's slot. */
  readonly intx: IrqLine
}

export class PciFunction implements ConfigSpace {
  private readonly config = new Uint8Array(256)
  private readonly writable = new Uint8Array(256)
  private readonly view = new DataView(this.config.buffer)
  private readonly bars = new Map<number, Bar>()
  private nextCapability = 0x40
  private lastCapabilityLink: number = Config.capabilities
  private msixAt = -1
  private msixTable = new Uint32Array(0)
  private readonly msixPending = new Set<number>()
  private intxLevel = false
  private onConfigRead: ((offset: number, size: AccessSize) => number | undefined) | undefined
  private onConfigWrite: ((offset: number, size: AccessSize, value: number) => boolean) | undefined

  constructor(private readonly name: string, identity: PciIdentity, private readonly env: PciEnvironment) {
    const { view } = this
    view.setUint16(Config.vendor, identity.vendor, true)
    view.setUint16(Config.device, identity.device, true)
    this.config[Config.revision] = identity.revision
    this.config[Config.subclass] = identity.subclass
    this.config[Config.classCode] = identity.classCode
    view.setUint16(Config.subVendor, identity.subVendor ?? identity.vendor, true)
    view.setUint16(Config.subDevice, identity.subDevice ?? 0, true)
    this.allowWrites(Config.command, 0x07, 0x04)
    this.allowWrites(Config.interruptLine, 0xff)
  }

  private allowWrites(offset: number, ...masks: number[]): void {
    masks.forEach((mask, i) => (this.writable[offset + i] = mask))
  }

  /** Gives the function INTA#. */
  useIntx(): void {
    this.config[Config.interruptPin] = 1
  }

  /** 32-bit memory BAR. @param size power of two, at least 4096 */
  addMemoryBar(index: number, size: number, handler: IoHandler, name: string): void {
    this.bars.set(index, { size, handler, name })
    const mask = -size >>> 0
    this.allowWrites(Config.bar0 + 4 * index, mask & 0xf0, (mask >>> 8) & 0xff, (mask >>> 16) & 0xff, mask >>> 24)
  }

  /** Appends a capability. `body` follows the id and link bytes. Returns its offset. */
  addCapability(id: number, body: readonly number[], writable: readonly number[] = []): number {
    const at = this.nextCapability
    if (at + 2 + body.length > 256) throw new BugError(`${this.name}: capabilities outgrew the configuration space`)
    this.config[this.lastCapabilityLink] = at
    this.config[at] = id
    this.config.set(body, at + 2)
    this.allowWrites(at + 2, ...writable)
    this.lastCapabilityLink = at + 1
    this.nextCapability = (at + 2 + body.length + 3) & ~3
    this.view.setUint16(Config.status, STATUS_CAPABILITIES, true)
    return at
  }

  /** Intercepts configuration accesses that act rather than store (virtio's PCI configuration access capability). */
  interceptConfig(
    read: (offset: number, size: AccessSize) => number | undefined,
    write: (offset: number, size: AccessSize, value: number) => boolean,
  ): void {
    this.onConfigRead = read
    this.onConfigWrite = write
  }

  /** MSI-X with its table at `tableOffset` of a BAR and the pending bits behind it. 6.8.2. */
  addMsix(vectors: number, bar: number, tableOffset: number, pbaOffset: number): void {
    const control = vectors - 1
    const le32 = (v: number): number[] => [v & 0xff, (v >> 8) & 0xff, (v >> 16) & 0xff, v >>> 24]
    this.msixAt = this.addCapability(0x11, [control & 0xff, control >> 8, ...le32(tableOffset | bar), ...le32(pbaOffset | bar)], [0, 0xc0])
    this.msixTable = new Uint32Array(4 * vectors)
    this.clearMsix()
  }

  private clearMsix(): void {
    this.msixTable.fill(0)
    for (let i = 3; i < this.msixTable.length; i += 4) this.msixTable[i] = 1
    this.msixPending.clear()
  }

  readMsixTable(offset: number): number {
    return this.msixTable[offset >> 2] ?? 0
  }

  writeMsixTable(offset: number, value: number): void {
    if (offset >> 2 >= this.msixTable.length) return
    this.msixTable[offset >> 2] = value
    this.flushMsix()
  }

  readMsixPending(offset: number): number {
    let word = 0
    for (const vector of this.msixPending) if (vector >> 5 === offset >> 2) word |= 1 << (vector & 31)
    return word >>> 0
  }

  get msixEnabled(): boolean {
    return this.msixAt >= 0 && (this.view.getUint16(this.msixAt + 2, true) & MSIX_ENABLE) !== 0
  }

  get vectorCount(): number {
    return this.msixTable.length / 4
  }

  signalMsix(vector: number): void {
    if (vector >= this.vectorCount) return
    this.msixPending.add(vector)
    this.flushMsix()
  }

  private flushMsix(): void {
    const control = this.msixAt < 0 ? 0 : this.view.getUint16(this.msixAt + 2, true)
    if ((control & MSIX_ENABLE) === 0 || (control & MSIX_MASK_ALL) !== 0) return
    for (const vector of [...this.msixPending]) {
      const at = vector * 4
      if ((this.msixTable[at + 3] & 1) !== 0) continue
      this.msixPending.delete(vector)
      this.env.msi.send(this.msixTable[at], this.msixTable[at + 1], this.msixTable[at + 2])
    }
  }

  /** Level of INTA#; silent while MSI-X is on or the guest disabled INTx. */
  setIntx(level: boolean): void {
    this.intxLevel = level
    this.updateIntx()
  }

  private updateIntx(): void {
    const off = (this.view.getUint16(Config.command, true) & COMMAND_INTX_OFF) !== 0
    this.env.intx.set(this.intxLevel && !off && !this.msixEnabled)
  }

  // ── configuration space ───────────────────────────────────────────────────────────────────────────────────────

  readConfig(offset: number, size: AccessSize): number {
    const special = this.onConfigRead?.(offset, size)
    if (special !== undefined) return special
    let value = 0
    for (let i = 0; i < size; i++) value += this.config[(offset + i) & 0xff] * 2 ** (8 * i)
    if (offset <= Config.status && offset + size > Config.status && this.intxLevel) value |= STATUS_INTERRUPT << (8 * (Config.status - offset))
    return value >>> 0
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    if (this.onConfigWrite?.(offset, size, value)) return
    for (let i = 0; i < size; i++) {
      const at = (offset + i) & 0xff
      const mask = this.writable[at]
      this.config[at] = (this.config[at] & ~mask) | ((value >>> (8 * i)) & mask)
    }
    this.placeBars()
    this.updateIntx()
    this.flushMsix()
  }

  private placeBars(): void {
    const decoding = (this.view.getUint16(Config.command, true) & COMMAND_MEMORY) !== 0
    for (const [index, bar] of this.bars) {
      const base = (this.view.getUint32(Config.bar0 + 4 * index, true) & ~15) >>> 0
      const wanted = decoding && base !== 0 && base + bar.size <= 2 ** 32
      if (bar.unmap && bar.at === base && wanted) continue
      bar.unmap?.()
      bar.unmap = undefined
      if (!wanted) continue
      try {
        bar.unmap = this.env.memory.map(base, bar.size, bar.handler, bar.name)
        bar.at = base
      } catch (error) {
        // A guest may park a BAR on top of something else while sizing; the other window then wins.
        if (!(error instanceof VmmError)) throw error
      }
    }
  }

  reset(): void {
    this.view.setUint16(Config.command, 0, true)
    for (const [index] of this.bars) this.view.setUint32(Config.bar0 + 4 * index, 0, true)
    if (this.msixAt >= 0) this.config[this.msixAt + 3] &= 0x3f
    this.clearMsix()
    this.intxLevel = false
    this.placeBars()
    this.updateIntx()
  }

  save(): DeviceState {
    return { config: this.config.slice(), msixTable: [...this.msixTable], msixPending: [...this.msixPending], intxLevel: this.intxLevel }
  }

  restore(state: DeviceState): void {
    const { config, msixTable, msixPending } = state
    if (!(config instanceof Uint8Array) || config.length !== 256) throw new VmmError('bad-state', `${this.name}: config must be 256 bytes`)
    if (!Array.isArray(msixTable) || msixTable.length !== this.msixTable.length) throw new VmmError('bad-state', `${this.name}: msixTable`)
    if (!Array.isArray(msixPending)) throw new VmmError('bad-state', `${this.name}: msixPending must be a list`)
    this.config.set(config)
    this.msixTable.set(msixTable.map(Number))
    this.msixPending.clear()
    for (const vector of msixPending) if (Number(vector) < this.vectorCount) this.msixPending.add(Number(vector))
    this.intxLevel = state.intxLevel === true
    this.placeBars()
    this.updateIntx()
  }
}

/** The host bridge at 00:00.0: nothing but an identity. */
export function createHostBridge(env: PciEnvironment): PciFunction {
  return new PciFunction('host-bridge', { vendor: 0x1b36, device: 0x0008, classCode: 6, subclass: 0, revision: 0 }, env)
}

/** Split virtqueue, device side. Virtio 1.2, section 2.7. Everything read here is the guest's and is checked. */
import type { DeviceState, GuestMemory } from '../../bus/types'
import { VmmError } from '../../errors'

const Desc = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const
const AVAIL_NO_INTERRUPT = 1
/** Longest chain followed, whatever the queue says. */
const MAX_CHAIN = 1024
const U16 = 0xffff

/** The guest broke the rules of the queue; the device must be reset. */
export class QueueError extends Error {}

export interface Buffer { readonly gpa: number; readonly length: number }

/** One request: what the device reads, then what it writes. */
export interface DescriptorChain {
  readonly head: number
  readonly readable: readonly Buffer[]
  readonly writable: readonly Buffer[]
}

export class Virtqueue {
  size = 0
  ready = false
  descTable = 0
  availRing = 0
  usedRing = 0
  private lastAvail = 0
  private usedIndex = 0
  private signalledUsed = 0

  constructor(private readonly memory: GuestMemory, readonly maxSize: number, private readonly eventIdx: () => boolean) {
    this.size = maxSize
  }

  reset(): void {
    this.size = this.maxSize
    this.ready = false
    this.descTable = this.availRing = this.usedRing = 0
    this.lastAvail = this.usedIndex = this.signalledUsed = 0
  }

  /** Takes the next request the driver made available, undefined when there is none. @throws QueueError */
  pop(): DescriptorChain | undefined {
    if (!this.ready) return undefined
    const available = this.memory.readU16(this.availRing + 2)
    if (((available - this.lastAvail) & U16) > this.size) throw new QueueError(`avail index ${available} is ${this.size}+ ahead of ${this.lastAvail}`)
    if (available === this.lastAvail) return undefined
    const head = this.memory.readU16(this.availRing + 4 + 2 * (this.lastAvail % this.size))
    this.lastAvail = (this.lastAvail + 1) & U16
    return this.chainAt(head)
  }

  /** True where all three rings are aligned (2.7.2) and lie in RAM; the driver promised so by enabling the queue. */
  ringsAreValid(): boolean {
    const places = [
      { at: this.descTable, align: 16, length: 16 * this.size },
      { at: this.availRing, align: 2, length: 6 + 2 * this.size },
      { at: this.usedRing, align: 4, length: 6 + 8 * this.size },
    ]
    return places.every(({ at, align, length }) => at % align === 0 && this.memory.isRam(at, length))
  }

  /** Asks to be notified of the next request. True where one slipped in meanwhile. */
  enableNotification(): boolean {
    if (!this.ready) return false
    if (this.eventIdx()) this.memory.writeU16(this.usedRing + 4 + 8 * this.size, this.lastAvail)
    return this.memory.readU16(this.availRing + 2) !== this.lastAvail
  }

  /** Follows the chain that starts at descriptor `head`. @throws QueueError */
  chainAt(head: number): DescriptorChain {
    const readable: Buffer[] = []
    const writable: Buffer[] = []
    let table = this.descTable
    let count = this.size
    let index = head
    let indirect = false
    for (let steps = 0; ; steps++) {
      if (index >= count) throw new QueueError(`descriptor ${index} of a table of ${count}`)
      if (steps >= MAX_CHAIN) throw new QueueError(`chain from ${head} does not end`)
      const at = table + 16 * index
      const flags = this.memory.readU16(at + 12)
      const buffer = { gpa: this.readU64(at), length: this.memory.readU32(at + 8) }
      if ((flags & Desc.INDIRECT) !== 0) {
        if (indirect || (flags & Desc.NEXT) !== 0) throw new QueueError('indirect descriptor in a chain or nested')
        if (buffer.length === 0 || buffer.length % 16 !== 0) throw new QueueError(`indirect table of ${buffer.length} bytes`)
        if (!this.memory.isRam(buffer.gpa, buffer.length)) throw new QueueError(`indirect table at 0x${buffer.gpa.toString(16)} is not in memory`)
        indirect = true
        table = buffer.gpa
        count = buffer.length / 16
        index = 0
        continue
      }
      this.addBuffer(buffer, (flags & Desc.WRITE) !== 0, readable, writable)
      if ((flags & Desc.NEXT) === 0) return { head, readable, writable }
      index = this.memory.readU16(at + 14)
    }
  }

  private addBuffer(buffer: Buffer, isWritable: boolean, readable: Buffer[], writable: Buffer[]): void {
    if (buffer.length > 0 && !this.memory.isRam(buffer.gpa, buffer.length)) {
      throw new QueueError(`buffer of ${buffer.length} bytes at 0x${buffer.gpa.toString(16)} is not in memory`)
    }
    if (isWritable) writable.push(buffer)
    else if (writable.length > 0) throw new QueueError('readable buffer after a writable one')
    else readable.push(buffer)
  }

  private readU64(at: number): number {
    return this.memory.readU32(at) + this.memory.readU32(at + 4) * 2 ** 32
  }

  /** Returns a request. @param written bytes the device wrote into the chain's writable part */
  push(head: number, written: number): void {
    const at = this.usedRing + 4 + 8 * (this.usedIndex % this.size)
    this.memory.writeU32(at, head)
    this.memory.writeU32(at + 4, written)
    this.usedIndex = (this.usedIndex + 1) & U16
    this.memory.writeU16(this.usedRing + 2, this.usedIndex)
  }

  /** True where the driver wants an interrupt for what was pushed since the last call. */
  shouldInterrupt(): boolean {
    const old = this.signalledUsed
    this.signalledUsed = this.usedIndex
    if (old === this.usedIndex) return false
    if (!this.eventIdx()) return (this.memory.readU16(this.availRing) & AVAIL_NO_INTERRUPT) === 0
    const event = this.memory.readU16(this.availRing + 4 + 2 * this.size)
    return ((this.usedIndex - event - 1) & U16) < ((this.usedIndex - old) & U16)
  }

  save(): DeviceState {
    const { size, ready, descTable, availRing, usedRing, lastAvail, usedIndex, signalledUsed } = this
    return { size, ready, descTable, availRing, usedRing, lastAvail, usedIndex, signalledUsed }
  }

  restore(state: DeviceState): void {
    const number = (field: string, limit: number): number => {
      const value = state[field]
      if (typeof value !== 'number' || !(value >= 0) || value > limit) throw new VmmError('bad-state', `virtqueue: ${field} cannot be ${String(value)}`)
      return value
    }
    const size = number('size', this.maxSize)
    if (size === 0 || (size & (size - 1)) !== 0) throw new VmmError('bad-state', `virtqueue: size cannot be ${size}`)
    this.size = size
    this.ready = state.ready === true
    for (const field of ['descTable', 'availRing', 'usedRing'] as const) this[field] = number(field, 2 ** 64)
    for (const field of ['lastAvail', 'usedIndex', 'signalledUsed'] as const) this[field] = number(field, U16)
  }
}

/** Copies the readable part of a chain, at most `limit` bytes. */
export function readChain(memory: GuestMemory, buffers: readonly Buffer[], limit = Infinity): Uint8Array {
  const total = Math.min(limit, buffers.reduce((sum, b) => sum + b.length, 0))
  const bytes = new Uint8Array(total)
  fillFromChain(memory, buffers, bytes)
  return bytes
}

/** Fills `target` from the readable part of a chain, which has at least as much. */
export function fillFromChain(memory: GuestMemory, buffers: readonly Buffer[], target: Uint8Array): void {
  let done = 0
  for (const { gpa, length } of buffers) {
    const take = Math.min(length, target.length - done)
    if (take > 0) memory.read(gpa, target.subarray(done, done + take))
    done += take
  }
}

/** Writes bytes into the writable part of a chain, from its start. Returns how many fitted. */
export function writeChain(memory: GuestMemory, buffers: readonly Buffer[], bytes: Uint8Array): number {
  let done = 0
  for (const { gpa, length } of buffers) {
    const take = Math.min(length, bytes.length - done)
    if (take > 0) memory.write(gpa, bytes.subarray(done, done + take))
    done += take
  }
  return done
}

/** Routes port and memory-mapped accesses to the register windows of devices. */
import { VmmError } from '../errors'
import type { AccessSize, AddressSpace, IoHandler } from './types'

interface Window {
  readonly base: number
  readonly end: number
  readonly handler: IoHandler
  readonly name: string
  accesses: number
}

/** Accesses since power-on, by window name: what the inspector shows as exits. */
export type AccessCounts = Record<string, number>

const masks: Readonly<Record<AccessSize, number>> = { 1: 0xff, 2: 0xffff, 4: -1 }
const ones = (size: AccessSize): number => 2 ** (8 * size) - 1

/** Sorted, non-overlapping windows. Reads of nothing give all ones, writes there are dropped; both are counted. */
export class WindowedSpace implements AddressSpace, IoHandler {
  private windows: Window[] = []
  private last: Window | undefined
  /** Over all others. Nowhere: its end is before any address. */
  private movable: Window | undefined
  unmapped = 0

  constructor(private readonly spaceName: string) {}

  map(base: number, length: number, handler: IoHandler, name: string): () => void {
    const window: Window = { base, end: base + length, handler, name, accesses: 0 }
    const clash = this.windows.find((w) => w.base < window.end && base < w.end)
    if (clash) {
      throw new VmmError('bad-config', `${this.spaceName}: ${name} at 0x${base.toString(16)} overlaps ${clash.name}`)
    }
    this.windows.push(window)
    this.windows.sort((a, b) => a.base - b.base)
    return () => {
      this.windows = this.windows.filter((w) => w !== window)
      if (this.last === window) this.last = undefined
    }
  }

  mapMovable(length: number, handler: IoHandler, name: string): (base: number | undefined) => void {
    if (this.movable) throw new VmmError('bad-config', `${this.spaceName}: ${name} cannot move beside ${this.movable.name}`)
    let window: Window = { base: -length, end: 0, handler, name, accesses: 0 }
    this.movable = window
    return (base = -length) => {
      this.movable = window = { ...window, base, end: base + length }
    }
  }

  private find(address: number): Window | undefined {
    const { last, movable } = this
    if (movable && address >= movable.base && address < movable.end) return movable
    if (last && address >= last.base && address < last.end) return last
    let low = 0
    let high = this.windows.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const window = this.windows[middle]
      if (address < window.base) high = middle - 1
      else if (address >= window.end) low = middle + 1
      else return (this.last = window)
    }
    return undefined
  }

  read(address: number, size: AccessSize): number {
    const window = this.find(address)
    if (!window) {
      this.unmapped++
      return size === 1 ? 0xff : this.readBytes(address, size)
    }
    if (address + size > window.end) return this.readBytes(address, size)
    window.accesses++
    // Handlers of wide registers may answer more than was asked for.
    return (window.handler.read(address - window.base, size) & masks[size]) >>> 0
  }

  /** An access that leaves its window is made byte by byte. */
  private readBytes(address: number, size: AccessSize): number {
    if (!this.find(address) && !this.find(address + size - 1)) return ones(size)
    let value = 0
    for (let i = 0; i < size; i++) value += this.read(address + i, 1) * 2 ** (8 * i)
    return value
  }

  write(address: number, size: AccessSize, value: number): void {
    const window = this.find(address)
    if (window && address + size <= window.end) {
      window.accesses++
      return window.handler.write(address - window.base, size, (value & masks[size]) >>> 0)
    }
    if (size === 1) {
      this.unmapped++
      return
    }
    for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff)
  }

  counts(): AccessCounts {
    const result: AccessCounts = {}
    for (const { name, accesses } of [...this.windows, ...(this.movable ? [this.movable] : [])]) result[name] = (result[name] ?? 0) + accesses
    if (this.unmapped > 0) result.unmapped = this.unmapped
    return result
  }
}

/**
 * What a device sees of the machine: offsets, a view of guest memory, interrupt lines and time.
 * A device never sees the CPU, nor another device.
 */

/** Bytes in one access. 8-byte MMIO accesses reach a handler as two 4-byte ones, low half first. */
export type AccessSize = 1 | 2 | 4

/** A register window. `offset` is relative to the start of the window; values are unsigned. */
export interface IoHandler {
  read(offset: number, size: AccessSize): number
  write(offset: number, size: AccessSize, value: number): void
}

/** A level-sensitive interrupt input of a controller (edge-triggered inputs act on the rise). */
export interface IrqLine {
  set(level: boolean): void
  /** What became of the last rise, where the line can tell. */
  readonly fate?: LineFate
}

/** `waiting`: the processor has not taken it yet, another rise would be lost; `masked`: no one listens. */
export type LineFate = 'taken' | 'waiting' | 'masked'

/** Message signalled interrupts: a write of `data` to `address` (Intel SDM vol. 3, 11.11). */
export interface MsiSink {
  send(addressLow: number, addressHigh: number, data: number): void
}

/**
 * Guest-physical memory for DMA. Addresses are byte addresses held in a JS number (below 2^53).
 * Access outside RAM reads as all ones, drops writes, and returns false.
 */
export interface GuestMemory {
  /** True where [gpa, gpa+length) is RAM throughout. */
  isRam(gpa: number, length: number): boolean
  read(gpa: number, target: Uint8Array): boolean
  write(gpa: number, source: Uint8Array): boolean
  readU8(gpa: number): number
  readU16(gpa: number): number
  readU32(gpa: number): number
  writeU8(gpa: number, value: number): void
  writeU16(gpa: number, value: number): void
  writeU32(gpa: number, value: number): void
}

export interface Timer {
  /** Fires once when the machine's clock reaches `deadlineNs`; arming again moves the deadline. */
  arm(deadlineNs: number): void
  cancel(): void
  /** Infinity when not armed. */
  readonly deadlineNs: number
}

/** The machine's own time: nanoseconds since power-on, standing still while the machine is paused. */
export interface VirtualClock {
  nowNs(): number
  createTimer(fire: () => void): Timer
  /** Wall-clock milliseconds since 1970 as the guest is meant to see them. */
  wallMs(): number
}

/** Plain data: structured-clone safe, no class instances. Bytes travel as Uint8Array. */
export type DeviceState = { readonly [field: string]: StateValue }
export type StateValue =
  | number | string | boolean | null | bigint | Uint8Array | readonly StateValue[] | DeviceState

/** Everything with state that a machine is made of. */
export interface Device {
  /** Unique in the machine, stable across versions, e.g. `uart0`. Names the device in snapshots and logs. */
  readonly id: string
  /** Version of the layout `save` returns. `restore` accepts this and every older one. */
  readonly stateVersion: number
  /** Power-on or system reset. */
  reset(): void
  save(): DeviceState
  /** Throws VmmError `bad-state` naming the field where the state cannot be used. */
  restore(state: DeviceState, version: number): void
}

/** Where devices put their register windows. Overlap throws VmmError `bad-config`. */
export interface AddressSpace {
  /** Returns a function that removes the window again (PCI BARs move). */
  map(base: number, length: number, handler: IoHandler, name: string): () => void
  /** A window that lies over all others, wherever it is put; there can be one. Returns what puts it somewhere, or, without a place, away. */
  mapMovable(length: number, handler: IoHandler, name: string): (base: number | undefined) => void
}

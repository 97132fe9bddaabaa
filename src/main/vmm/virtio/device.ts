/** What a virtio device is to its transport. Virtio 1.2, chapters 2 and 5. */
import type { DeviceState } from '../bus/types'
import type { Virtqueue } from './queue/virtqueue'

/** Feature bits every device of ours offers; the transport handles them. */
export const Feature = { INDIRECT_DESC: 1n << 28n, EVENT_IDX: 1n << 29n, VERSION_1: 1n << 32n } as const

/** What a device may do to its driver. */
export interface VirtioHost {
  /** Something was returned on this queue: interrupt if the driver wants one. */
  notifyUsed(queue: number): void
  /** Device configuration changed. */
  configChanged(): void
  /** The driver broke the rules: DEVICE_NEEDS_RESET, logged once. */
  broken(reason: string): void
  /** Runs work that takes requests outside `notify`: only while the driver is live, and a broken queue breaks the device alone. */
  guard(run: () => void): void
  queue(index: number): Virtqueue
  hasFeature(bit: bigint): boolean
}

/** The device proper: knows queues and requests, not how they are found. */
export interface VirtioDevice {
  readonly id: string
  /** Virtio device type: 1 net, 2 block, 3 console, 4 entropy. */
  readonly type: number
  readonly classCode: number
  readonly subclass: number
  readonly features: bigint
  readonly queueSizes: readonly number[]
  readonly stateVersion: number
  attach(host: VirtioHost): void
  readConfig(offset: number, size: 1 | 2 | 4): number
  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void
  /** The driver kicked a queue. */
  notify(queue: number): void
  /** DRIVER_OK was set. */
  activate(): void
  /** Optional: everything of the machine is restored, requests saved under way may start again. */
  resume?(): void
  /** Answers still on their way from before must be dropped. */
  reset(): void
  save(): DeviceState
  restore(state: DeviceState): void
}

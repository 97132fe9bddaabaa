/** What the services ask of one another. */
import type { MachineOrigin, MachineSettings, Phrase, Said } from '../../preload/contract'

/** Files that a linked clone's disks are laid over; they must stay as they are. */
export interface MachineBase {
  /** Template, or machine with the snapshot. */
  readonly machineId: string
  readonly snapshotId?: string
  readonly files: readonly { readonly path: string; readonly size: number; readonly mtimeMs: number }[]
}

export interface MachineRecord {
  /** UUID. */
  readonly id: string
  readonly settings: MachineSettings
  /** ISO 8601. */
  readonly createdAt: string
  /** The machine's own folder, absolute; holds `machine.json`, `boot/`, `logs/`. */
  readonly dir: string
  /** Cannot start and is not changed; others are made from it. */
  readonly isTemplate?: boolean
  /** The machine it was made from. */
  readonly origin?: MachineOrigin
  /** Of a linked clone: whose disks its own are laid over. */
  readonly base?: MachineBase
  /** UUID; changes when the guest goes back in time, so that it knows. The id unless given. */
  readonly generationId?: string
  /** Set where `machine.json` could not be used, for people: the machine is shown as damaged and cannot start. */
  readonly damage?: Phrase
}

/** Ends a subscription. */
export type Stop = () => void

/** What a long piece of work tells while it goes on. */
export interface Progress {
  /** @param fraction 0…1; undefined while unknown @param detail what happens now, for people */
  report(fraction: number | undefined, detail?: Said): void
  /** Aborted when the work is no longer wanted. */
  readonly signal: AbortSignal
}

/** The machine as `vm-host` sees it. */
import { EmbeddedMachine, type SavedMachine } from './machine'
import type { Machine, MachineConfig, MachinePorts } from './types'

export * from './types'
export type { SavedMachine } from './machine'
export { decodeMachineState, encodeMachineState, type HardwareManifest, type MachineState } from './state/machine-state'
export { createCpuKit, type CpuKit } from './cpu-kit'
export type { PrebuiltInterpreter } from '../cpu/interp/prebuilt'
export { completePack, packModule, serveTranslations } from './translation-thread'
export type { CompiledPack, KeptTranslations } from '../cpu/dbt/translation-pack'
export { Lockstep, LOCKSTEP_DIFFERENCE } from './lockstep/lockstep'
export type { LockstepTier } from './lockstep/pair'
export { PAGE_SIZE } from '../memory/frame-table'
export { CHUNK_BYTES, CHUNK_PAGES, type CapturedChunk, type CaptureScope, type RamCapture } from '../memory/ram-capture'
export type { LazyRam, PageSource, StoredPages } from '../memory/lazy-ram'

/** @throws VmmError `bad-config`, `bad-kernel`, `no-memory` */
export function createMachine(config: MachineConfig, ports: MachinePorts): Machine {
  return new EmbeddedMachine(config, ports)
}

/**
 * A machine that goes on where `capture` was taken. Its clock stands until `runSlice`.
 * @throws VmmError as createMachine; `state-mismatch` naming what differs, `bad-state`, `state-damaged`
 */
export function restoreMachine(config: MachineConfig, ports: MachinePorts, saved: SavedMachine): Machine {
  return new EmbeddedMachine(config, ports, saved)
}

/** The machine as `vm-host` sees it. */
import { EmbeddedMachine } from './machine'
import type { Machine, MachineConfig, MachinePorts } from './types'

export * from './types'

/** @throws VmmError `bad-config`, `bad-kernel`, `no-memory` */
export function createMachine(config: MachineConfig, ports: MachinePorts): Machine {
  return new EmbeddedMachine(config, ports)
}

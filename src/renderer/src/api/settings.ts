/** Defaults and copies of settings. */
import type { HostInfo, Machine, MachineSettings } from './types'

/** A new machine's settings: the manager's defaults under a name. */
export function newSettings(name: string, defaults: HostInfo['defaults']): MachineSettings {
  return { ...defaults, name, tags: [...defaults.tags], disks: defaults.disks.map((disk) => ({ ...disk })) }
}

/** The settings of a machine, free to change without touching it. */
export function copySettings(machine: Machine): MachineSettings {
  const { name, group, tags, notes, memoryMiB, cpuProfile, kernel, initrd, commandLine, disks, onReset, maxTier } = machine
  return {
    name, group, notes, memoryMiB, cpuProfile, kernel, initrd, commandLine, onReset, maxTier,
    tags: [...tags],
    disks: disks.map((disk) => ({ ...disk })),
  }
}

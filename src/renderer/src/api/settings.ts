/** Defaults and copies of settings. */
import type { Machine, MachineSettings } from './types'

export const DEFAULT_COMMAND_LINE = 'console=ttyS0'

export function newSettings(name: string, cpuProfile: string): MachineSettings {
  return {
    name, group: '', tags: [], notes: '', memoryMiB: 512, cpuProfile, kernel: '', initrd: '', commandLine: DEFAULT_COMMAND_LINE,
    disks: [], onReset: 'reboot', maxTier: 2,
  }
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

/** What a machine has unless someone says otherwise. */
import type { MachineSettings } from '../../../preload/contract'

/** Names of the core's CPU models: the services may not import the core; a test compares the lists. */
export const CPU_PROFILE_NAMES: readonly string[] = ['nestbox64', 'nestbox32']

export const DEFAULT_SETTINGS: Omit<MachineSettings, 'name'> = {
  group: '', tags: [], notes: '', memoryMiB: 512, cpuProfile: CPU_PROFILE_NAMES[0], kernel: '', initrd: '', commandLine: 'console=ttyS0',
  disks: [], onReset: 'reboot', maxTier: 2,
}

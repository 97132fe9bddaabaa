/** The options that describe a machine, the same for `vm create` and `vm set`. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { LIMITS, type MachineSettings } from '../../preload/contract'
import { CPU_PROFILE_NAMES } from '../services/library/defaults'
import { collect, DISK_OPTIONS } from './disk-options'
import { ExitCode } from './exit-codes'
import { CliError } from './output'
import { parseDisk, parseInteger } from './resolve'

export interface SettingsOptions {
  readonly memory?: string
  readonly kernel?: string
  readonly initrd?: string
  readonly append?: string
  readonly disk?: readonly string[]
  readonly cpuProfile?: string
  readonly tier?: string
  readonly onReset?: string
  readonly group?: string
  readonly tag?: readonly string[]
  readonly notes?: string
}

export function addSettingsOptions(command: Command): Command {
  return command
    .option('--memory <MiB>', `guest memory, ${LIMITS.memoryMinMiB} to ${LIMITS.memoryMaxMiB}`)
    .option('--kernel <file>', 'Linux kernel (bzImage)')
    .option('--initrd <file>', "initial RAM disk; '' for none")
    .option('--append <text>', 'kernel command line')
    .option('--disk <file[,option]...>', `virtio disk, may be repeated; options: format=raw|qcow2 (raw unless given), ${DISK_OPTIONS}`, collect)
    .option('--cpu-profile <name>', `CPU model: ${CPU_PROFILE_NAMES.join(', ')}`)
    .option('--tier <0|1|2>', 'highest tier of the CPU engine: interpreter, blocks, regions')
    .option('--on-reset <reboot|stop>', 'what happens when the guest restarts')
    .option('--group <name>', "group; a/b is a group in a group, '' for none")
    .option('--tag <text>', 'tag; may be repeated', collect)
    .option('--notes <text>', 'notes')
}

function parseTier(text: string): 0 | 1 | 2 {
  if (text === '0' || text === '1' || text === '2') return Number(text) as 0 | 1 | 2
  throw new CliError(ExitCode.USAGE, `--tier ${text}: must be 0, 1 or 2`)
}

function parseOnReset(text: string): 'reboot' | 'stop' {
  if (text === 'reboot' || text === 'stop') return text
  throw new CliError(ExitCode.USAGE, `--on-reset ${text}: must be reboot or stop`)
}

/** Only what was given. Paths are relative to where the command runs; the manager gets whole ones. */
export function settingsFrom(options: SettingsOptions): Partial<MachineSettings> {
  const { memory, kernel, initrd, append, disk, cpuProfile, tier, onReset, group, tag, notes } = options
  return {
    ...(memory === undefined ? {} : { memoryMiB: parseInteger('--memory', memory, 'MiB') }),
    ...(kernel === undefined ? {} : { kernel: resolve(kernel) }),
    ...(initrd === undefined ? {} : { initrd: initrd === '' ? '' : resolve(initrd) }),
    ...(append === undefined ? {} : { commandLine: append }),
    ...(disk === undefined ? {} : { disks: disk.map(parseDisk) }),
    ...(cpuProfile === undefined ? {} : { cpuProfile }),
    ...(tier === undefined ? {} : { maxTier: parseTier(tier) }),
    ...(onReset === undefined ? {} : { onReset: parseOnReset(onReset) }),
    ...(group === undefined ? {} : { group }),
    ...(tag === undefined ? {} : { tags: [...tag] }),
    ...(notes === undefined ? {} : { notes }),
  }
}

/** The `nestbox` command with all its verbs. */
import { Command } from 'commander'
import { VERSION } from '../services/version'
import { addCloneCommands } from './clones'
import { addCompletionCommand } from './completion'
import { addDiskCommands } from './disk'
import { addImageCommands } from './image'
import { runLockstep } from './lockstep'
import { runMachine, type RunOptions } from './run'
import { addServeCommands } from './serve'
import { collect } from './settings-options'
import { addSnapshotCommands } from './snapshot'
import { addVmCommands } from './vm'

function addRunCommand(program: Command): void {
  program.command('run')
    .description('run a machine outside the library, its consoles on standard input and output (Ctrl-A X quits)')
    .requiredOption('--kernel <file>', 'Linux kernel (bzImage)')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--append <text>', 'kernel command line', 'console=ttyS0')
    .option('--console <ttyS0|hvc0>', 'which of its consoles is shown first (Ctrl-A C changes)', 'ttyS0')
    .option('--memory <MiB>', 'guest memory', '512')
    .option('--disk <file[,format=F][,cache=MODE][,queues=N][,readonly]>', 'virtio disk; may be repeated', collect, [])
    .option('--cpu-profile <name>', 'CPU model', 'nestbox64')
    .option('--tier <0|1|2>', 'highest tier of the CPU engine', '2')
    .option('--no-reboot', 'stop where the guest resets the machine')
    .option('--no-translation-cache', 'neither use translated code of earlier runs nor keep any')
    .option('--lockstep [low,high]', 'run the guest on two tiers side by side and stop where they first differ (default: 0,2)')
    .option('--stats <file>', 'write figures as JSON when the machine stops')
    .option('--verbose', 'log what devices have to say')
    .option('--json', 'errors as JSON')
    .action(async (options: RunOptions) => {
      process.exitCode = await (options.lockstep ? runLockstep(options) : runMachine(options))
    })
}

export function buildProgram(): Command {
  const program = new Command('nestbox').description('Virtual machines without a hypervisor').version(VERSION)
  // Usage errors end with 2 as everywhere; commander's own choice is 1. Inherited by the commands made after it.
  program.exitOverride().showHelpAfterError('(nestbox help shows the commands)')
  addRunCommand(program)
  addCloneCommands(program, addVmCommands(program))
  addSnapshotCommands(program)
  addDiskCommands(program)
  addImageCommands(program)
  addServeCommands(program)
  addCompletionCommand(program)
  return program
}

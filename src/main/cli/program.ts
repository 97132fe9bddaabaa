/** The `nestbox` command with all its verbs. */
import { Command } from 'commander'
import { LIMITS } from '../../preload/contract/limits'
import { DISK_FORMATS } from '../host'
import { CPU_PROFILE_NAMES } from '../services/library/defaults'
import { VERSION } from '../services/version'
import { collect, DISK_OPTIONS } from './disk-options'
import type { RunOptions } from './run'

function addRunCommand(program: Command): void {
  program.command('run')
    .description('run a machine outside the library, its consoles on standard input and output (Ctrl-A X quits)')
    .requiredOption('--kernel <file>', 'Linux kernel (bzImage)')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--append <text>', 'kernel command line', 'console=ttyS0')
    .option('--console <ttyS0|hvc0>', 'which of its consoles is shown first (Ctrl-A C changes)', 'ttyS0')
    .option('--memory <MiB>', `guest memory, ${LIMITS.memoryMinMiB} to ${LIMITS.memoryMaxMiB}`, '512')
    .option('--disk <file[,option]...>', `virtio disk, may be repeated; options: format=${DISK_FORMATS.join('|')} (raw unless given), ${DISK_OPTIONS}`, collect, [])
    .option('--cpu-profile <name>', `CPU model: ${CPU_PROFILE_NAMES.join(', ')}`, CPU_PROFILE_NAMES[0])
    .option('--tier <0|1|2>', 'highest tier of the CPU engine: interpreter, blocks, regions', '2')
    .option('--no-reboot', 'stop where the guest resets the machine')
    .option('--no-translation-cache', 'neither use translated code of earlier runs nor keep any')
    .option('--lockstep [low,high]', 'run the guest on two tiers side by side and stop where they first differ (default: 0,2)')
    .option('--stats <file>', 'write figures as JSON when the machine stops')
    .option('--verbose', 'log what devices have to say')
    .option('--json', 'errors as JSON')
    .action(async (options: RunOptions) => {
      process.exitCode = options.lockstep ? await (await import('./lockstep')).runLockstep(options) : await (await import('./run')).runMachine(options)
    })
}

const EXAMPLES = `
A first machine, from nothing:
  nestbox vm create lin --image starter
  nestbox vm start lin
  nestbox vm console lin                 (Ctrl-A X leaves it; it goes on running)
  nestbox vm stop lin

Machines live in ~/Nestbox, or in the folder that NESTBOX_HOME names. Scripts use --json and the exit
codes: 0 done, 1 failed, 2 wrong use, 5 not found, 6 name taken or wrong state (docs/cli.md has them all).`

/** Where to read on after wrong use: the help of the command that was meant. */
function pointToHelp(command: Command, path = command.name()): void {
  command.showHelpAfterError(`'${path} --help' shows how it is used.`)
  for (const child of command.commands) pointToHelp(child, `${path} ${child.name()}`)
}

/**
 * @param json errors are told by who runs the program, as JSON; nothing else goes to standard error
 * @param verb what it is called with, where that is known: for `run` no other is looked at, for a machine should not wait for them
 */
export async function buildProgram(json = false, verb?: string): Promise<Command> {
  const program = new Command('nestbox').description('Virtual machines on any computer, without a hypervisor.').version(VERSION).addHelpText('after', EXAMPLES)
  // Usage errors end with 2 as everywhere; commander's own choice is 1. Inherited by the commands made after it.
  program.exitOverride().configureOutput({
    writeErr: (text) => void (json || process.stderr.write(text)),
    outputError: (text, write) => write(text.replace(/^error: /, 'nestbox: ')),
  })
  addRunCommand(program)
  if (verb !== 'run') (await import('./commands')).addCommands(program)
  pointToHelp(program)
  return program
}

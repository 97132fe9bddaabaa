/** The `nestbox` command. */
import { Command } from 'commander'
import { VmmError } from '../vmm/errors'
import { ExitCode, runMachine, type RunOptions } from './run'

const collect = (value: string, all: readonly string[]): string[] => [...all, value]

function buildProgram(): Command {
  const program = new Command('nestbox').description('Virtual machines without a hypervisor')
  program.command('run')
    .description('run a machine outside the library, its serial port on standard input and output (Ctrl-A X quits)')
    .requiredOption('--kernel <file>', 'Linux kernel (bzImage)')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--append <text>', 'kernel command line', 'console=ttyS0')
    .option('--memory <MiB>', 'guest memory', '512')
    .option('--disk <file[,format=raw][,readonly]>', 'virtio disk; may be repeated', collect, [])
    .option('--cpu-profile <name>', 'CPU model', 'nestbox64')
    .option('--tier <0|1|2>', 'highest tier of the CPU engine', '2')
    .option('--no-reboot', 'stop where the guest resets the machine')
    .option('--stats <file>', 'write figures as JSON when the machine stops')
    .option('--verbose', 'log what devices have to say')
    .action(async (options: RunOptions) => {
      process.exitCode = await runMachine(options)
    })
  return program
}

async function main(): Promise<void> {
  try {
    await buildProgram().parseAsync()
  } catch (error) {
    if (!(error instanceof VmmError)) throw error
    process.stderr.write(`nestbox: ${error.message}\n`)
    process.exitCode = error.code === 'bad-config' ? ExitCode.USAGE : ExitCode.FAILED
  }
}

void main().finally(() => setImmediate(() => process.exit()))

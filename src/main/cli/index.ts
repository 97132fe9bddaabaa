/** The `nestbox` command: what it is called with, and how it ends. */
import { CommanderError } from 'commander'
import { VmmError } from '../vmm/errors'
import { ExitCode } from './exit-codes'
import { printError } from './output'
import { buildProgram } from './program'

async function main(): Promise<void> {
  const json = process.argv.includes('--json')
  try {
    await buildProgram().parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE
    else if (error instanceof VmmError) {
      process.stderr.write(json ? `${JSON.stringify({ error: { code: error.code, message: error.message } })}\n` : `nestbox: ${error.message}\n`)
      process.exitCode = error.code === 'bad-config' ? ExitCode.USAGE : ExitCode.FAILED
    } else process.exitCode = printError(error, json)
  }
}

// Output that waits in a pipe goes out before the process ends.
void main().finally(() => process.stdout.write('', () => process.exit()))

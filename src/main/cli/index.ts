/** The `nestbox` command: what it is called with, and how it ends. */
import { CommanderError } from 'commander'
import { outliveFileLimits } from '../host/file-limit'
import { VmmError } from '../vmm/errors'
import { ExitCode } from './exit-codes'
import { buildProgram } from './program'

/** Help that was asked for is no error; wrong use was told already, unless a script reads. */
async function endOfUse({ exitCode, code, message }: CommanderError, json: boolean): Promise<number> {
  if (exitCode === 0 || !json) return exitCode === 0 ? ExitCode.OK : ExitCode.USAGE
  // A group has no options of its own: what is missing is its verb.
  const isGroup = code === 'commander.help' || (code === 'commander.unknownOption' && message.includes("'--json'"))
  const text = isGroup ? 'a command is needed' : message.replace(/^error: /, '').split('\n')[0]
  const { CliError, printError } = await import('./output')
  return printError(new CliError(ExitCode.USAGE, text), true)
}

async function main(): Promise<void> {
  const json = process.argv.includes('--json')
  outliveFileLimits()
  try {
    await (await buildProgram(json, process.argv[2])).parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = await endOfUse(error, json)
    else if (error instanceof VmmError) {
      process.stderr.write(json ? `${JSON.stringify({ error: { code: error.code, message: error.message } })}\n` : `nestbox: ${error.message}\n`)
      process.exitCode = error.code === 'bad-config' ? ExitCode.USAGE : ExitCode.FAILED
    } else process.exitCode = (await import('./output')).printError(error, json)
  }
}

// Output that waits in a pipe goes out before the process ends.
void main().finally(() => process.stdout.write('', () => process.exit()))

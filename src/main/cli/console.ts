/** `nestbox vm console`: a machine's console on this terminal. */
import type { ConsolePort, Machine } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ExitCode } from './exit-codes'
import { printError } from './output'

const CTRL_A = 1
/** Input from a pipe that has ended: the guest's answer is over when it says nothing for so long. */
const QUIET_MS = 1500

/** Cuts Ctrl-A commands out of what is typed: Ctrl-A X leaves, Ctrl-A Ctrl-A is one Ctrl-A for the guest. */
export class EscapeFilter {
  private isEscaped = false

  constructor(private readonly onQuit: () => void) {}

  /** @returns the bytes for the guest */
  push(chunk: Uint8Array): Uint8Array {
    const out: number[] = []
    for (const byte of chunk) {
      if (this.isEscaped) {
        this.isEscaped = false
        if (byte === 0x78 || byte === 0x58) {
          this.onQuit()
          break
        }
        out.push(byte)
      } else if (byte === CTRL_A) this.isEscaped = true
      else out.push(byte)
    }
    return Uint8Array.from(out)
  }
}

/** Text is acknowledged once the terminal has taken it: a slow one holds the guest back instead of filling our memory. */
function showOutput(client: LocalClient, machine: Machine, port: ConsolePort, onText: () => void): Promise<void> {
  let consoleId: string | undefined
  client.subscribe('console.data', (chunk) => {
    if (chunk.machineId !== machine.id || chunk.port !== port || (consoleId !== undefined && chunk.consoleId !== consoleId)) return
    onText()
    process.stdout.write(chunk.text, () => void client.request('console.ack', { consoleId: chunk.consoleId, bytes: chunk.bytes }))
  })
  // Only a terminal answers what a guest asks one.
  const answers = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  return client.call('console.open', { id: machine.id, port, answers }).then((opened) => {
    consoleId = opened.consoleId
  })
}

/** What the machine said so far. */
export async function printLog(client: LocalClient, machine: Machine, port: ConsolePort, json: boolean): Promise<void> {
  const { text } = await client.call('console.history', { id: machine.id, port })
  const out = json ? `${JSON.stringify({ id: machine.id, port, text })}\n` : text
  await new Promise<void>((resolve) => process.stdout.write(out, () => resolve()))
}

/**
 * Attaches until Ctrl-A X, the machine's end, or, where the input is no terminal, its end and the guest's answer.
 * @returns the exit code
 */
export async function attachConsole(client: LocalClient, machine: Machine, port: ConsolePort): Promise<number> {
  const { stdin } = process
  if (stdin.isTTY) process.stderr.write(`Console ${port} of ${machine.name}. Ctrl-A X leaves it; the machine goes on.\n`)
  let finish: (code: number) => void = () => undefined
  let quiet: NodeJS.Timeout | undefined
  const ended = new Promise<number>((resolve) => (finish = resolve))
  await showOutput(client, machine, port, () => quiet?.refresh())
  const decoder = new TextDecoder()
  const filter = new EscapeFilter(() => finish(ExitCode.OK))
  client.subscribe('machine.changed', ({ id, state }) => {
    // The console's last words may still be under way behind this event.
    if (id === machine.id && (state === 'stopped' || state === 'crashed')) setTimeout(() => finish(state === 'stopped' ? ExitCode.OK : ExitCode.FAILED), 200)
  })
  void client.closed.then(() => finish(ExitCode.UNREACHABLE))
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', (chunk: Buffer) => {
    const text = decoder.decode(stdin.isTTY ? filter.push(chunk) : chunk, { stream: true })
    if (text !== '') client.call('console.write', { id: machine.id, port, text }).catch((error: unknown) => finish(printError(error, false)))
  })
  stdin.on('end', () => (quiet = setTimeout(() => finish(ExitCode.OK), QUIET_MS)))
  stdin.resume()
  const code = await ended
  stdin.pause()
  if (stdin.isTTY) stdin.setRawMode(false)
  return code
}

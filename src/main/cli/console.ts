/** `nestbox vm console`: a machine's console on this terminal. */
import type { ConsolePort, Machine } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ExitCode } from './exit-codes'

const CTRL_A = 1

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
function showOutput(client: LocalClient, machine: Machine, port: ConsolePort): Promise<void> {
  let consoleId: string | undefined
  client.subscribe('console.data', (chunk) => {
    if (chunk.machineId !== machine.id || chunk.port !== port || (consoleId !== undefined && chunk.consoleId !== consoleId)) return
    process.stdout.write(chunk.text, () => void client.request('console.ack', { consoleId: chunk.consoleId, bytes: chunk.bytes }))
  })
  return client.call('console.open', { id: machine.id, port }).then((opened) => {
    consoleId = opened.consoleId
  })
}

/** What the machine said so far. */
export async function printLog(client: LocalClient, machine: Machine, port: ConsolePort, json: boolean): Promise<void> {
  const { text } = await client.call('console.history', { id: machine.id, port })
  const out = json ? `${JSON.stringify({ id: machine.id, port, text })}\n` : text
  await new Promise<void>((resolve) => process.stdout.write(out, () => resolve()))
}

/** Attaches until Ctrl-A X, the end of the input where it is no terminal, or the machine's end. @returns the exit code */
export async function attachConsole(client: LocalClient, machine: Machine, port: ConsolePort): Promise<number> {
  const { stdin } = process
  if (stdin.isTTY) process.stderr.write(`Console ${port} of ${machine.name}. Ctrl-A X leaves it; the machine goes on.\n`)
  await showOutput(client, machine, port)
  const decoder = new TextDecoder()
  return new Promise<number>((resolve) => {
    const done = (code: number): void => {
      stdin.off('data', onData)
      stdin.pause()
      if (stdin.isTTY) stdin.setRawMode(false)
      resolve(code)
    }
    const filter = new EscapeFilter(() => done(ExitCode.OK))
    const onData = (chunk: Buffer): void => {
      const text = decoder.decode(stdin.isTTY ? filter.push(chunk) : chunk, { stream: true })
      if (text !== '') void client.request('console.write', { id: machine.id, port, text })
    }
    client.subscribe('machine.changed', ({ id, state }) => {
      // The console's last words may still be under way behind this event's.
      if (id === machine.id && (state === 'stopped' || state === 'crashed')) setTimeout(() => done(state === 'stopped' ? ExitCode.OK : ExitCode.FAILED), 200)
    })
    void client.closed.then(() => done(ExitCode.UNREACHABLE))
    if (stdin.isTTY) stdin.setRawMode(true)
    stdin.on('data', onData)
    stdin.resume()
  })
}

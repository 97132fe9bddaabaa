/** Drives a machine through `nestbox run`: waits for text, types, collects the end. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'

export interface RunEnd { readonly code: number | null; readonly output: string }

export class GuestConsole {
  private text = ''
  private readonly child: ChildProcessWithoutNullStreams
  private readonly end: Promise<RunEnd>
  private changed: () => void = () => undefined

  /** @param cli path of the bundled command @param args after `run` */
  constructor(cli: string, args: readonly string[]) {
    this.child = spawn(process.execPath, [cli, 'run', ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    const collect = (chunk: Buffer): void => {
      this.text += chunk.toString('latin1')
      this.changed()
    }
    this.child.stdout.on('data', collect)
    this.child.stderr.on('data', collect)
    this.end = new Promise((resolve) => this.child.on('close', (code) => {
      resolve({ code, output: this.text })
      this.changed()
    }))
  }

  /** Resolves with everything said so far once `pattern` appears after position `from`. */
  async waitFor(pattern: RegExp, timeoutMs: number, from = 0): Promise<string> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      if (pattern.test(this.text.slice(from))) return this.text
      const left = deadline - Date.now()
      if (left <= 0 || this.child.exitCode !== null) {
        throw new Error(`${String(pattern)} did not appear; the console's end:\n${this.text.slice(-3000)}`)
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, 1000))
        this.changed = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** Types a command and waits for its end. Returns what it said. */
  async run(command: string, timeoutMs = 60_000): Promise<string> {
    const from = this.text.length
    // The marker is put together by the shell, so that the echo of the command is not taken for its end.
    this.child.stdin.write(`${command}; echo "DO""NE:$?"\n`)
    await this.waitFor(/DONE:\d+/, timeoutMs, from)
    return this.text.slice(from)
  }

  type(text: string): void {
    this.child.stdin.write(text)
  }

  /** Resolves when the machine has ended. */
  async ended(timeoutMs: number): Promise<RunEnd> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs)
    const end = await this.end
    clearTimeout(timer)
    return end
  }

  kill(): void {
    this.child.kill('SIGKILL')
  }
}

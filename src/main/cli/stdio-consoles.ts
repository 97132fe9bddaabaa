/** A guest's two consoles on one terminal: one is in front, the other keeps the end of what it says until it is. */
import type { CharBackend } from '../vmm/ports'

export const CONSOLE_NAMES = ['ttyS0', 'hvc0'] as const
export type ConsoleName = (typeof CONSOLE_NAMES)[number]

/** Where a person types and reads: a terminal, or pipes of a script. */
export interface Terminal {
  readonly isTerminal: boolean
  write(bytes: Uint8Array): void
  /** Shown between the guest's lines. */
  note(text: string): void
}

const CTRL_A = 1
/** Of what the console behind says; older text is dropped. */
const KEPT_BYTES = 64 * 1024

class Console implements CharBackend {
  private kept: Uint8Array[] = []
  private keptBytes = 0
  receive: (bytes: Uint8Array) => void = () => undefined

  constructor(private readonly isInFront: () => boolean, private readonly show: (bytes: Uint8Array) => void) {}

  write(bytes: Uint8Array): void {
    if (this.isInFront()) return this.show(bytes)
    // The caller may use its buffer again.
    this.kept.push(bytes.slice())
    this.keptBytes += bytes.length
    while (this.kept.length > 1 && this.keptBytes - this.kept[0].length >= KEPT_BYTES) this.keptBytes -= this.kept.shift()?.length ?? 0
  }

  onInput(receive: (bytes: Uint8Array) => void): void {
    this.receive = receive
  }

  showKept(): void {
    for (const bytes of this.kept) this.show(bytes)
    this.kept = []
    this.keptBytes = 0
  }
}

/**
 * On a terminal Ctrl-A X quits, Ctrl-A C changes to the other console, Ctrl-A Ctrl-A sends one Ctrl-A; what comes through a pipe
 * is passed on as it is.
 */
export class StdioConsoles {
  readonly ttyS0: CharBackend
  readonly hvc0: CharBackend
  private readonly consoles: Readonly<Record<ConsoleName, Console>>
  private escaped = false

  constructor(private front: ConsoleName, private readonly terminal: Terminal, private readonly onQuit: () => void) {
    const make = (name: ConsoleName): Console => new Console(() => this.front === name, (bytes) => terminal.write(bytes))
    this.consoles = { ttyS0: make('ttyS0'), hvc0: make('hvc0') }
    ;({ ttyS0: this.ttyS0, hvc0: this.hvc0 } = this.consoles)
  }

  typed(chunk: Uint8Array): void {
    let out: number[] = []
    const send = (): void => {
      if (out.length > 0) this.consoles[this.front].receive(Uint8Array.from(out))
      out = []
    }
    for (const byte of chunk) {
      if (this.escaped) {
        this.escaped = false
        const key = String.fromCharCode(byte).toLowerCase()
        if (key === 'x') return this.onQuit()
        if (key === 'c') {
          send()
          this.change()
        } else out.push(byte)
      } else if (byte === CTRL_A && this.terminal.isTerminal) this.escaped = true
      else out.push(byte)
    }
    send()
  }

  private change(): void {
    this.front = this.front === 'ttyS0' ? 'hvc0' : 'ttyS0'
    this.terminal.note(`console ${this.front}`)
    this.consoles[this.front].showKept()
  }
}

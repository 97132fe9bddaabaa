/** The machine's end of one console: output to the manager with flow control, input from it. */
import type { CharBackend } from '../vmm/ports'
import { HOLD_ABOVE_BYTES, RELEASE_BELOW_BYTES, type FromHost, type HostConsolePort } from './protocol'

export class ConsolePort implements CharBackend {
  private receive: ((bytes: Uint8Array) => void) | undefined
  private outstanding = 0
  private isHolding = false

  /** @param hold called with true when the reader is too far behind, with false when it has caught up */
  constructor(
    private readonly port: HostConsolePort,
    private readonly send: (message: FromHost) => void,
    private readonly hold: (held: boolean) => void,
  ) {}

  write(bytes: Uint8Array): void {
    this.outstanding += bytes.length
    this.send({ type: 'output', port: this.port, bytes })
    if (!this.isHolding && this.outstanding > HOLD_ABOVE_BYTES) {
      this.isHolding = true
      this.hold(true)
    }
  }

  acknowledge(count: number): void {
    this.outstanding = Math.max(0, this.outstanding - count)
    if (this.isHolding && this.outstanding < RELEASE_BELOW_BYTES) {
      this.isHolding = false
      this.hold(false)
    }
  }

  onInput(receive: (bytes: Uint8Array) => void): void {
    this.receive = receive
  }

  input(bytes: Uint8Array): void {
    this.receive?.(bytes)
  }
}

/** One client of the manager: what it has open, which ends with it. */
import { randomUUID } from 'node:crypto'
import { phrase, type ConsolePort, type EventName, type EventPayload } from '../../preload/contract'
import type { ConsoleAttachment, ConsoleHub } from './console'
import { ServiceError } from './errors'

export type Emit = <N extends EventName>(name: N, payload: EventPayload<N>) => void

/** A client that opens more than this has lost count. */
const MOST_CONSOLES = 64

export class Session {
  private readonly consoles = new Map<string, { readonly machineId: string; readonly port: ConsolePort; readonly attachment: ConsoleAttachment }>()
  private isClosed = false

  constructor(private readonly hub: ConsoleHub, readonly emit: Emit) {}

  /** @param answers as `ConsoleHub.attach` has it */
  openConsole(machineId: string, port: ConsolePort, answers = true): string {
    if (this.isClosed) throw new ServiceError('disconnected', phrase('call.clientGone'))
    if (this.consoles.size >= MOST_CONSOLES) throw new ServiceError('invalid-argument', phrase('console.tooMany', { count: MOST_CONSOLES }))
    const consoleId = randomUUID()
    const decoder = new TextDecoder()
    const attachment = this.hub.attach(machineId, port, (bytes) => {
      this.emit('console.data', { consoleId, machineId, port, text: decoder.decode(bytes, { stream: true }), bytes: bytes.length })
    }, answers)
    this.consoles.set(consoleId, { machineId, port, attachment })
    return consoleId
  }

  acknowledge(consoleId: string, bytes: number): void {
    // A console that was closed meanwhile is no error: the acknowledgement was under way.
    this.consoles.get(consoleId)?.attachment.acknowledge(bytes)
  }

  /** The person is at this terminal now. */
  focusConsole(consoleId: string): void {
    this.consoles.get(consoleId)?.attachment.claim()
  }

  /** The person types into a machine: at the terminal that was focused or, of a client that says nothing of that, at the one it has. */
  typedInto(machineId: string, port: ConsolePort): void {
    const its = [...this.consoles.values()].filter((console) => console.machineId === machineId && console.port === port)
    if (its.length === 1) its[0].attachment.claim()
  }

  closeConsole(consoleId: string): void {
    this.consoles.get(consoleId)?.attachment.detach()
    this.consoles.delete(consoleId)
  }

  /** The machine goes: so do its consoles. */
  closeConsolesOf(machineId: string): void {
    for (const [consoleId, console] of this.consoles) if (console.machineId === machineId) this.closeConsole(consoleId)
  }

  close(): void {
    this.isClosed = true
    for (const consoleId of [...this.consoles.keys()]) this.closeConsole(consoleId)
  }
}

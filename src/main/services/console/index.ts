/** The consoles of all machines: keeps what they said, passes it to readers at their pace, and keys to the guests. */
import { join } from 'node:path'
import type { ConsolePort } from '../../../preload/contract'
import { ConsoleJournal } from './journal'
import { QuerySplitter, withoutQueries } from './queries'
import { ConsoleViewer } from './viewer'

/** Where a console's input goes and its acknowledgements; the runtime provides it while the machine runs. */
export interface ConsoleLine {
  input(bytes: Uint8Array): void
  acknowledge(count: number): void
}

export interface ConsoleAttachment {
  acknowledge(count: number): void
  /** A person is at this one now: where it is a terminal, it answers what the guest asks. */
  claim(): void
  detach(): void
}

/** A reader this far behind holds the guest back. */
const HOLD_BYTES = 1 << 20

class MachineConsole {
  /** In the order in which a person came to them. */
  private readonly viewers = new Set<ConsoleViewer>()
  private readonly splitter = new QuerySplitter()
  private line: ConsoleLine | undefined
  private unreported = 0

  constructor(readonly journal: ConsoleJournal) {}

  setLine(line: ConsoleLine | undefined): void {
    this.line = line
    this.unreported = 0
  }

  output(bytes: Uint8Array): void {
    this.journal.append(bytes)
    const answering = this.answering
    const isShared = this.viewers.size > 1 || answering === undefined || this.splitter.isKeeping
    const { whole, quiet } = isShared ? this.splitter.split(bytes) : { whole: bytes, quiet: bytes }
    for (const viewer of this.viewers) viewer.push(viewer === answering ? whole : quiet)
    this.unreported += bytes.length
    this.report()
  }

  /** Of several terminals only one may answer the guest's questions: the one a person came to last. */
  private get answering(): ConsoleViewer | undefined {
    return [...this.viewers].findLast(({ answers }) => answers)
  }

  /** Tells the machine how much was taken, unless a reader is too far behind. */
  private report(): void {
    if (this.unreported === 0 || [...this.viewers].some((v) => v.backlog > HOLD_BYTES)) return
    this.line?.acknowledge(this.unreported)
    this.unreported = 0
  }

  input(bytes: Uint8Array): boolean {
    this.line?.input(bytes)
    return this.line !== undefined
  }

  /** What was said so far, to be read again: it asks the reader nothing. */
  past(): Uint8Array {
    return withoutQueries(this.journal.history())
  }

  attach(onChunk: (bytes: Uint8Array) => void, answers: boolean): ConsoleAttachment {
    const viewer = new ConsoleViewer(onChunk, () => this.report(), answers)
    this.viewers.add(viewer)
    viewer.push(this.past())
    return {
      acknowledge: (count) => viewer.acknowledge(count),
      claim: () => {
        if (this.viewers.delete(viewer)) this.viewers.add(viewer)
      },
      detach: () => {
        this.viewers.delete(viewer)
        viewer.close()
      },
    }
  }
}

export class ConsoleHub {
  private readonly consoles = new Map<string, MachineConsole>()

  /** @param logDir folder of a machine's logs @param warn told once where a console's log cannot be written */
  constructor(private readonly logDir: (machineId: string) => string, private readonly warn: (machineId: string, reason: string) => void) {}

  private get(id: string, port: ConsolePort): MachineConsole {
    const key = `${id}/${port}`
    let console = this.consoles.get(key)
    if (!console) {
      const journal = new ConsoleJournal(join(this.logDir(id), `console-${port}.log`), (reason) => this.warn(id, reason))
      console = new MachineConsole(journal)
      this.consoles.set(key, console)
    }
    return console
  }

  /** The machine runs now: its end of the line. undefined: it stopped. */
  connect(id: string, port: ConsolePort, line: ConsoleLine | undefined): void {
    this.get(id, port).setLine(line)
  }

  output(id: string, port: ConsolePort, bytes: Uint8Array): void {
    this.get(id, port).output(bytes)
  }

  history(id: string, port: ConsolePort): Uint8Array {
    return this.get(id, port).past()
  }

  /** History first, then what is new. @param answers it is a terminal, and answers what a guest asks one: until another comes */
  attach(id: string, port: ConsolePort, onChunk: (bytes: Uint8Array) => void, answers = true): ConsoleAttachment {
    return this.get(id, port).attach(onChunk, answers)
  }

  /** @returns false where the machine does not run: nobody reads the keys */
  write(id: string, port: ConsolePort, text: string): boolean {
    return this.get(id, port).input(new TextEncoder().encode(text))
  }

  /** Closes the logs of a machine, before its folder moves. */
  release(id: string): void {
    for (const [key, console] of this.consoles) {
      if (!key.startsWith(`${id}/`)) continue
      console.journal.close()
      this.consoles.delete(key)
    }
  }
}

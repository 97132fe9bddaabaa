/** What one console said, on disk and in memory: bounded, kept when the machine stops and when the manager restarts. */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** A full log moves aside and a new one begins: history is at most twice this. */
export const JOURNAL_BYTES = 2 << 20

export class ConsoleJournal {
  private file: number | undefined
  private size = 0
  /** Set where the log cannot be written: history then lives in memory only. */
  private failure: string | undefined
  private memory: Uint8Array[] = []
  private memoryBytes = 0

  /** @param path of the log; `<path>.1` holds the older half */
  constructor(private readonly path: string, private readonly onFailure: (reason: string) => void) {}

  private open(): void {
    if (this.file !== undefined || this.failure !== undefined) return
    mkdirSync(dirname(this.path), { recursive: true })
    this.file = openSync(this.path, 'a')
    this.size = statSync(this.path).size
  }

  append(bytes: Uint8Array): void {
    this.remember(bytes)
    try {
      this.open()
      if (this.file === undefined) return
      writeSync(this.file, bytes)
      this.size += bytes.length
      if (this.size > JOURNAL_BYTES) this.rotate()
    } catch (error) {
      // A full disk must not take the console away.
      this.close()
      this.failure = error instanceof Error ? error.message : String(error)
      this.onFailure(this.failure)
    }
  }

  private remember(bytes: Uint8Array): void {
    if (this.failure === undefined) return
    this.memory.push(bytes)
    this.memoryBytes += bytes.length
    while (this.memoryBytes > JOURNAL_BYTES) this.memoryBytes -= this.memory.shift()?.length ?? 0
  }

  private rotate(): void {
    this.close()
    renameSync(this.path, `${this.path}.1`)
  }

  history(): Uint8Array {
    const parts = [`${this.path}.1`, this.path].filter((path) => existsSync(path)).map((path) => readFileSync(path) as Uint8Array)
    return Buffer.concat([...parts, ...this.memory])
  }

  clear(): void {
    this.close()
    for (const path of [`${this.path}.1`, this.path]) rmSync(path, { force: true })
    this.memory = []
    this.memoryBytes = 0
    this.failure = undefined
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file)
    this.file = undefined
  }
}

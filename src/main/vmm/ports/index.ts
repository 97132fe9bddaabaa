/**
 * What the core asks of its host. The core itself has no Node, Electron or DOM types:
 * clocks, files and WebAssembly arrive through these interfaces (implemented in `src/main/host`).
 */

/** Monotonic and wall clocks of the host. */
export interface HostClock {
  /** Nanoseconds from an arbitrary start, never stepping back. A double is exact for 104 days. */
  monotonicNs(): number
  /** Milliseconds since 1970-01-01 UTC. */
  wallMs(): number
}

/** Cryptographically secure random bytes. */
export interface EntropySource {
  fill(target: Uint8Array): void
}

/** A disk as the guest's devices see it: a flat array of bytes. All offsets and lengths are in bytes. */
export interface BlockBackend {
  readonly sizeBytes: number
  readonly readOnly: boolean
  /** Smallest unit the backend writes without read-modify-write; a power of two, at least 512. */
  readonly blockSize: number
  /** Unit in which space is taken and freed, where that is larger: discards of less free nothing. A power of two. */
  readonly clusterSize?: number
  /** The owner wants every write on stable storage before it is answered, whatever the guest asks for. */
  readonly writeThrough?: boolean
  /** Fills `target` from `offset`. Rejects with a VmmError `disk-io` that names the file. */
  read(offset: number, target: Uint8Array): Promise<void>
  /** As `read`; `disk-full` where the host has no room: the same call can succeed later, and so for what follows. */
  write(offset: number, source: Uint8Array): Promise<void>
  /** Resolves once every write that resolved before the call is on stable storage. */
  flush(): Promise<void>
  /** The range may read as zeroes afterwards; the host may free the space. */
  discard(offset: number, length: number): Promise<void>
  /** The range reads as zeroes afterwards. @param keepSpace what the range has on the host is not to be freed */
  writeZeroes(offset: number, length: number, keepSpace?: boolean): Promise<void>
}

/** The host's end of a character stream (serial line, virtio console port). */
export interface CharBackend {
  /** Bytes the guest said. The array is the callee's to keep. */
  write(bytes: Uint8Array): void
  /** The device registers here for bytes typed at the guest. */
  onInput(receive: (bytes: Uint8Array) => void): void
}

export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>
}

/** Shared linear memory; `buffer` is a SharedArrayBuffer that never moves (maximum = initial size). */
export interface WasmMemory {
  readonly buffer: SharedArrayBuffer
}

export interface WasmTable {
  readonly length: number
  get(index: number): unknown
  set(index: number, value: unknown): void
  grow(delta: number): number
}

/** The engine that runs what the core generates. */
export interface WasmEngine {
  createMemory(pages: number): WasmMemory
  createTable(initial: number): WasmTable
  compile(bytes: Uint8Array): unknown
  /**
   * The module `bytes` with machine code that such an engine made of it in another process. Undefined, or no such method: the code
   * does not fit, or the engine cannot.
   */
  revive?(bytes: Uint8Array, machineCode: Uint8Array): unknown
  instantiate(module: unknown, imports: Record<string, Record<string, unknown>>): WasmInstance
}

/** Another thread of the host, for one kind of work. Messages are copied; shared memory in them stays shared. */
export interface BackgroundThread {
  /** It may work at length without taking the processor from anyone: the computer has more of them than the guest and its helpers need. */
  readonly unhurried: boolean
  /** Starts the thread where it does not run. */
  post(message: unknown): void
  /** Ends the thread, which has nothing to do: the next message starts another, which knows nothing of this one's messages. Resolves when it is gone. */
  end(): Promise<void>
  /** Replies come between two slices of the machine, never within one. */
  onMessage(receive: (message: unknown) => void): void
  /** The thread did not start, or died: nothing more comes. Called at once where that is known already. */
  onLost(lost: (reason: string) => void): void
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export interface Logger {
  log(level: LogLevel, component: string, message: string, details?: Readonly<Record<string, unknown>>): void
}

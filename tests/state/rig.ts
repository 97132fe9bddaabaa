/** Machines in this process for tests of saved states: deterministic time, console collected, memory kept in chunks. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { NodeWasmEngine } from '../../src/main/host'
import {
  createMachine, CHUNK_PAGES, decodeMachineState, encodeMachineState, restoreMachine, type CapturedChunk, type Machine, type MachineConfig, type PageSource, type StoredPages,
} from '../../src/main/vmm/machine'
import { createCpuKit } from '../../src/main/vmm/machine/cpu-kit'
import { EmbeddedMachine } from '../../src/main/vmm/machine/machine'
import type { BlockBackend } from '../../src/main/vmm/ports'

const guests = fileURLToPath(new URL('../../.cache/guests', import.meta.url))

export const guestFile = (name: string, file: string): Uint8Array => readFileSync(`${guests}/${name}/${file}`)

/** Tier 0 is built once for all machines of a test. */
const wasm = new NodeWasmEngine()
const cpuKit = createCpuKit(wasm)

/** A disk in memory whose answers come when they are let. */
export class HeldDisk implements BlockBackend {
  readonly readOnly = false
  readonly blockSize = 512
  readonly sizeBytes: number
  held = false
  private waiting: (() => void)[] = []

  constructor(readonly bytes: Uint8Array) {
    this.sizeBytes = bytes.length
  }

  /** Another one with the same bytes, that holds its answers back as this one does. */
  fork(): HeldDisk {
    const copy = new HeldDisk(this.bytes.slice())
    copy.held = this.held
    return copy
  }

  get waitingCount(): number {
    return this.waiting.length
  }

  private gate(): Promise<void> {
    return this.held ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve()
  }

  release(): void {
    this.held = false
    for (const go of this.waiting.splice(0)) go()
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.gate()
    target.set(this.bytes.subarray(offset, offset + target.length))
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    const copy = source.slice()
    await this.gate()
    this.bytes.set(copy, offset)
  }

  async flush(): Promise<void> {
    await this.gate()
  }

  discard(): Promise<void> {
    return Promise.resolve()
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.gate()
    this.bytes.fill(0, offset, offset + length)
  }
}

export class Rig {
  /** What came out of COM1, and of the virtio console. */
  output = ''
  consoleOutput = ''
  machine: Machine
  private input: (bytes: Uint8Array) => void = () => undefined
  private consoleInput: (bytes: Uint8Array) => void = () => undefined
  hostNs = 1e9
  /** Randomness of the machine: the same for two that are to do the same. */
  seed = 1

  constructor(readonly config: MachineConfig, saved?: { readonly state: string; readonly memory: PageSource }, public wallMs = Date.UTC(2026, 0, 2, 3, 4, 5)) {
    const ports = {
      // Real time passes only as far as the machine asks: budgets end slices, deadlines come from instructions.
      clock: { monotonicNs: () => (this.hostNs += 1000), wallMs: () => this.wallMs },
      entropy: { fill: (target: Uint8Array) => this.random(target) }, wasm, cpuKit, log: { log: () => undefined },
      serial: {
        write: (bytes: Uint8Array) => (this.output += Buffer.from(bytes).toString('latin1')),
        onInput: (receive: (bytes: Uint8Array) => void) => (this.input = receive),
      },
      console: {
        write: (bytes: Uint8Array) => (this.consoleOutput += Buffer.from(bytes).toString('latin1')),
        onInput: (receive: (bytes: Uint8Array) => void) => (this.consoleInput = receive),
      },
    }
    this.machine = saved
      ? restoreMachine(config, ports, { state: decodeMachineState(saved.state), memory: saved.memory })
      : createMachine(config, ports)
  }

  get inner(): EmbeddedMachine {
    if (!(this.machine instanceof EmbeddedMachine)) throw new Error('another kind of machine')
    return this.machine
  }

  private random(target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) {
      this.seed = (Math.imul(this.seed, 1664525) + 1013904223) | 0
      target[i] = this.seed >>> 24
    }
  }

  type(text: string): void {
    this.input(Buffer.from(text))
  }

  typeIntoConsole(text: string): void {
    this.consoleInput(Buffer.from(text))
  }

  /** Runs about this many instructions more; idle time is skipped by advancing no instructions: the guest must be busy. */
  async run(instructions: number): Promise<void> {
    const end = this.machine.figures().instructions + instructions
    while (this.machine.figures().instructions < end) {
      const result = this.machine.runSlice(5e4)
      if (result.kind === 'stopped') throw new Error(`stopped: ${JSON.stringify(result.reason)}\n${this.output.slice(-1000)}`)
      if (result.kind === 'idle') throw new Error('idle')
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** State as text and memory as chunks, taken at once. */
  capture(): { state: string; memory: MemoryChunks } {
    const { state, memory } = this.machine.capture()
    const chunks = new MemoryChunks()
    for (const chunk of memory.order()) {
      const taken = memory.take(chunk)
      if (taken) chunks.put(chunk, taken)
    }
    memory.end()
    return { state: encodeMachineState(state), memory: chunks }
  }
}

export class MemoryChunks implements PageSource {
  private readonly chunks = new Map<number, CapturedChunk>()
  loads = 0

  put(chunk: number, taken: CapturedChunk): void {
    this.chunks.set(chunk, { mask: taken.mask, bytes: taken.bytes.slice() })
  }

  get size(): number {
    return this.chunks.size
  }

  maskOf(chunk: number): number {
    return this.chunks.get(chunk)?.mask ?? 0
  }

  load(page: number): StoredPages {
    this.loads++
    const chunk = Math.floor(page / CHUNK_PAGES)
    const found = this.chunks.get(chunk)
    if (!found) throw new Error(`no chunk ${chunk}`)
    return { chunk, live: found.mask, ...found }
  }

  /** Everything, for comparison. */
  digest(): string {
    return [...this.chunks].sort(([a], [b]) => a - b).map(([chunk, { mask, bytes }]) => `${chunk}:${mask}:${hash(bytes)}`).join('\n')
  }
}

function hash(bytes: Uint8Array): number {
  let h = 0
  for (let i = 0; i < bytes.length; i++) h = (Math.imul(h, 31) + bytes[i]) | 0
  return h
}

/** Paths at which two JSON texts differ: the first few, so that a failure can be read. */
export function differences(a: string, b: string): string[] {
  const found: string[] = []
  const compare = (path: string, x: unknown, y: unknown): void => {
    if (found.length > 10 || Object.is(x, y)) return
    if (typeof x !== 'object' || typeof y !== 'object' || x === null || y === null) {
      found.push(`${path}: ${JSON.stringify(x)} ${JSON.stringify(y)}`)
      return
    }
    for (const key of new Set([...Object.keys(x), ...Object.keys(y)])) {
      compare(`${path}.${key}`, (x as Record<string, unknown>)[key], (y as Record<string, unknown>)[key])
    }
  }
  compare('', JSON.parse(a), JSON.parse(b))
  return found
}

/** A Node worker thread behind the core's port. */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { BackgroundThread } from '../vmm/ports'

/** Processors that the guest's thread, this one and the engine's own compiler keep busy. */
const NEEDED = 2

export class NodeBackgroundThread implements BackgroundThread {
  readonly unhurried = availableParallelism() > NEEDED
  private worker: Worker | undefined
  private reason: string | undefined
  private receive: (message: unknown) => void = () => undefined
  private lost: (reason: string) => void = () => undefined

  /** @param program path of the bundle the thread runs; it gets no standard streams and does not keep the process alive */
  constructor(private readonly program: string) {}

  private start(): Worker {
    const worker = this.worker = new Worker(this.program, { name: 'nestbox-translator' })
    worker.on('error', (error) => this.lose(worker, error.message))
    worker.on('exit', (code) => this.lose(worker, `the thread ended with code ${code}`))
    worker.on('message', (message) => this.receive(message))
    // Listening keeps the process alive otherwise.
    worker.unref()
    return worker
  }

  private lose(worker: Worker, reason: string): void {
    if (worker !== this.worker || this.reason !== undefined) return
    this.reason = reason
    this.lost(reason)
  }

  post(message: unknown): void {
    const worker = this.worker ?? this.start()
    worker.postMessage(message)
  }

  async end(): Promise<void> {
    const { worker } = this
    if (this.reason !== undefined) return
    this.worker = undefined
    await worker?.terminate()
  }

  onMessage(receive: (message: unknown) => void): void {
    this.receive = receive
  }

  onLost(lost: (reason: string) => void): void {
    this.lost = lost
    if (this.reason !== undefined) lost(this.reason)
  }
}

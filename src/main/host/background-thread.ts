/** A Node worker thread behind the core's port. */
import { Worker } from 'node:worker_threads'
import type { BackgroundThread } from '../vmm/ports'

export class NodeBackgroundThread implements BackgroundThread {
  private readonly worker: Worker
  private reason: string | undefined
  private lost: (reason: string) => void = () => undefined

  /** @param program path of the bundle the thread runs; it gets no standard streams and does not keep the process alive */
  constructor(program: string) {
    this.worker = new Worker(program, { name: 'nestbox-translator' })
    this.worker.unref()
    this.worker.on('error', (error) => this.lose(error.message))
    this.worker.on('exit', (code) => this.lose(`the thread ended with code ${code}`))
  }

  private lose(reason: string): void {
    if (this.reason !== undefined) return
    this.reason = reason
    this.lost(reason)
  }

  post(message: unknown): void {
    this.worker.postMessage(message)
  }

  onMessage(receive: (message: unknown) => void): void {
    this.worker.on('message', receive)
    // Listening keeps the process alive otherwise.
    this.worker.unref()
  }

  onLost(lost: (reason: string) => void): void {
    this.lost = lost
    if (this.reason !== undefined) lost(this.reason)
  }
}

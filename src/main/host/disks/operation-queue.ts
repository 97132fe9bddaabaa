/** Lets operations run side by side, and others by themselves, in the order they came. */

interface Waiting { readonly alone: boolean; readonly start: () => void }

export class OperationQueue {
  private running = 0
  private isAlone = false
  private readonly waiting: Waiting[] = []

  /** Runs beside others of its kind. */
  shared<T>(work: () => Promise<T>): Promise<T> {
    return this.run(false, work)
  }

  /** Runs when everything asked for before has ended; everything asked for later waits. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.run(true, work)
  }

  private async run<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    if (this.waiting.length > 0 || !this.hasRoom(alone)) await new Promise<void>((start) => this.waiting.push({ alone, start }))
    else this.begin(alone)
    try {
      return await work()
    } finally {
      this.running--
      this.isAlone = false
      this.startNext()
    }
  }

  private hasRoom(alone: boolean): boolean {
    return alone ? this.running === 0 : !this.isAlone
  }

  private begin(alone: boolean): void {
    this.running++
    this.isAlone = alone
  }

  private startNext(): void {
    for (let next = this.waiting.at(0); next && this.hasRoom(next.alone); next = this.waiting.at(0)) {
      this.waiting.shift()
      this.begin(next.alone)
      next.start()
    }
  }
}

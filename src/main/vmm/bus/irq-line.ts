/** Interrupt lines: plain ones, and several sources sharing one. */
import type { IrqLine } from './types'

/** One physical line driven by several sources: high while any of them is. */
export class SharedLine {
  private readonly levels: boolean[] = []
  private high = false

  constructor(private readonly target: IrqLine) {}

  source(): IrqLine {
    const index = this.levels.push(false) - 1
    return {
      set: (level) => {
        this.levels[index] = level
        const any = this.levels.includes(true)
        if (any === this.high) return
        this.high = any
        this.target.set(any)
      },
    }
  }
}

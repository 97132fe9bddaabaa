/** What two machines say on their serial lines: passed on once, and held against each other. */
import type { Side } from './pair'

/** Bytes told of a difference. */
const TOLD_BYTES = 80

export class SerialComparison {
  /** Said by one machine and not yet by the other. */
  private readonly ahead: Record<Side, number[]> = { reference: [], tested: [] }
  private parted = false

  /** @param output what the reference says */
  constructor(private readonly output: (bytes: Uint8Array) => void) {}

  said(side: Side, bytes: Uint8Array): void {
    if (side === 'reference') this.output(bytes)
    const mine = this.ahead[side]
    const other = this.ahead[side === 'reference' ? 'tested' : 'reference']
    for (const byte of bytes) {
      if (this.parted || other.length === 0) mine.push(byte)
      else if (other[0] === byte) other.shift()
      else {
        this.parted = true
        mine.push(byte)
      }
    }
  }

  /** Undefined where one line is the other's beginning. */
  difference(): { readonly reference: string; readonly tested: string } | undefined {
    if (!this.parted) return undefined
    const text = (side: Side): string => String.fromCharCode(...this.ahead[side].slice(0, TOLD_BYTES))
    return { reference: text('reference'), tested: text('tested') }
  }
}

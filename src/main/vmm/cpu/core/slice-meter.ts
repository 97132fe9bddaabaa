/** Instructions granted to one run of a CPU. Generated code counts them down in the state block, and comes back once they are used up. */
import { offsetOf } from '../state/layout'

const AT_SLICE_LEFT = offsetOf('sliceLeft')

export class SliceMeter {
  private granted = 0
  /** Granted, and kept from generated code so that it comes back. */
  private stash = 0

  /** @param view of the state block */
  constructor(private readonly view: DataView) {}

  private get left(): number {
    return this.view.getInt32(AT_SLICE_LEFT, true)
  }

  private set left(instructions: number) {
    this.view.setInt32(AT_SLICE_LEFT, instructions, true)
  }

  /** Begins a run. */
  grant(instructions: number): void {
    this.granted = this.stash = instructions
    this.left = 0
  }

  /** Gives generated code all that is left. False: nothing is. */
  handOut(): boolean {
    const left = this.stash + this.left
    if (left <= 0) return false
    this.left = left
    this.stash = 0
    return true
  }

  /** Of what was given out, leaves enough for one block. */
  single(): void {
    this.stash += this.left
    this.left = 0
  }

  /** Makes generated code return at the next block head; what is left is kept. */
  takeBack(): void {
    const { left } = this
    if (left < 0) return
    this.stash += left + 1
    this.left = -1
  }

  /** Instructions executed since the run began, counting the part of the slice in progress. */
  get executed(): number {
    return this.granted - this.stash - this.left
  }

  /** Ends a run: nothing of it is counted from now on. */
  end(): void {
    this.granted = this.stash + this.left
  }
}

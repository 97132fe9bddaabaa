/** PS/2 keyboard: commands, scan code sets 1 and 2, what it keeps while the controller holds its clock. IBM PS/2 technical reference. */
import type { DeviceState } from '../../bus/types'
import { toSet2 } from './scancodes'

const ACK = 0xfa
const RESEND = 0xfe
const SELF_TEST_PASSED = 0xaa
const IDENTITY = [0xab, 0x83]
/** Commands that a data byte follows: lights, scan code set, rate; of set 3, which this keyboard lacks, those that name keys. */
const WITH_DATA: ReadonlySet<number> = new Set([0xed, 0xf0, 0xf3, 0xfb, 0xfc, 0xfd])
const IN_SET3: ReadonlySet<number> = new Set([0xf7, 0xf8, 0xf9, 0xfa])

export class Ps2Keyboard {
  private set = 2
  private scanning = true
  /** Command that waits for its data byte, 0 none. */
  private pending = 0
  private last = ACK

  /** A byte for the keyboard; returns what it answers. */
  receive(byte: number): number[] {
    const answer = this.answer(byte)
    if (answer.length > 0) this.last = answer[answer.length - 1]
    return answer
  }

  private answer(byte: number): number[] {
    const { pending } = this
    this.pending = 0
    // A command instead of the data byte ends the one before.
    if (pending !== 0 && byte < 0x80) return this.argument(pending, byte)
    if (WITH_DATA.has(byte)) {
      this.pending = byte
      return [ACK]
    }
    return this.command(byte)
  }

  private argument(command: number, value: number): number[] {
    if (command !== 0xf0) return [ACK]
    if (value === 0) return [ACK, this.set]
    // Set 3 is taken and stays without effect, as keyboards that lack it do: the question for the set in force tells.
    if (value <= 2) this.set = value
    return [ACK]
  }

  private command(byte: number): number[] {
    switch (byte) {
      case 0xee: return [0xee]
      case 0xf2: return [ACK, ...IDENTITY]
      case 0xf4: this.scanning = true; return [ACK]
      case 0xf5: this.setDefaults(); this.scanning = false; return [ACK]
      case 0xf6: this.setDefaults(); return [ACK]
      case 0xfe: return [this.last]
      case 0xff: this.setDefaults(); return [ACK, SELF_TEST_PASSED]
      default: return [IN_SET3.has(byte) ? ACK : RESEND]
    }
  }

  /** Keys at the host, in set 1; what the keyboard sends for them. */
  press(codes: readonly number[]): readonly number[] {
    if (!this.scanning) return []
    return this.set === 1 ? codes : toSet2(codes)
  }

  private setDefaults(): void {
    this.set = 2
    this.scanning = true
  }

  reset(): void {
    this.setDefaults()
    this.pending = 0
    this.last = ACK
  }

  save(): DeviceState {
    const { set, scanning, pending, last } = this
    return { set, scanning, pending, last }
  }

  restore({ set, scanning, pending, last }: DeviceState): void {
    Object.assign(this, { set, scanning, pending, last })
  }
}

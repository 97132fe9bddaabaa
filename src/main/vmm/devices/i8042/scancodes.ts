/** Scan code sets 1 and 2, and the controller's translation from 2 to 1. IBM PS/2 technical reference, keyboard and controller sections. */

/** Set 2 make code of every set 1 make code. */
const SET2 = [
  0, 118, 22, 30, 38, 37, 46, 54, 61, 62, 70, 69, 78, 85, 102, 13, 21, 29, 36, 45, 44, 53, 60, 67, 68, 77, 84, 91, 90, 20, 28, 27,
  35, 43, 52, 51, 59, 66, 75, 76, 82, 14, 18, 93, 26, 34, 33, 42, 50, 49, 58, 65, 73, 74, 89, 124, 17, 41, 88, 5, 6, 4, 12, 3,
  11, 0x83, 10, 1, 9, 119, 126, 108, 117, 125, 123, 107, 115, 116, 121, 105, 114, 122, 112, 113, 0x84, 96, 97, 120, 7, 15, 23, 31, 39, 47, 55, 63,
  71, 79, 86, 94, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 87, 111, 19, 25, 57, 81, 83, 92, 95, 98, 99, 100, 101, 103, 104, 106, 109, 110,
] as const
const BREAK2 = 0xf0
const BREAK1 = 0x80

/** What the controller makes of a byte: from 0x80 on it lets bytes pass, but for F7 and Alt-SysRq. */
const TO_SET1: readonly number[] = (() => {
  const table = Array.from({ length: 256 }, (_, byte) => byte)
  SET2.forEach((set2, set1) => (table[set2] = set1))
  // Two codes of set 2 that no key of today has.
  table[0] = 0xff
  table[2] = 0x41
  table[127] = 0x54
  return table
})()

/** Bytes of set 1, as the host tells keys, in set 2. Prefixes E0 and E1 are the same in both. */
export function toSet2(codes: readonly number[]): number[] {
  return codes.flatMap((code) => {
    if (code === 0xe0 || code === 0xe1) return [code]
    const make = SET2[code & 0x7f]
    return (code & BREAK1) !== 0 ? [BREAK2, make] : [make]
  })
}

/** Byte by byte, as the controller translates what the keyboard sends. */
export class Translation {
  /** The last byte was a break prefix: it shows in the next one. */
  breaks = false

  /** undefined where nothing comes out yet. */
  translate(byte: number): number | undefined {
    if (byte === BREAK2) {
      this.breaks = true
      return undefined
    }
    const code = TO_SET1[byte] | (this.breaks ? BREAK1 : 0)
    this.breaks = false
    return code
  }
}

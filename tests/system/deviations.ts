/**
 * Where QEMU's translator does something else than the manual says. Lines named here are held to what stands here, not to
 * QEMU. A kernel can also name the manual's result itself, in the name of a test (`SDM` in `protected.inc`); that is the
 * way for what QEMU does not check at all: segment limits and rights of data accesses, alignment, and the like.
 */
export interface Deviation {
  readonly kernel: string
  /** The test's name: the line up to its first colon, or the row of a table. */
  readonly line: string
  /** The whole line as the manual has it. */
  readonly expected: string
  /** Volume and section of Intel's manual, and what QEMU does instead. */
  readonly why: string
}

/** A call gate to conforming code keeps the CPL; rings 0 to 3, each with CALL, JMP, INT and INT through RPL 3. */
function conformingGate(access: number): string {
  const dpl = (access >> 5) & 3
  const rings = ['0040/0010', '0041/0061', '0042/0072', '0043/0023'].map((end, ring) => (ring < dpl ? '0d:0040' : end))
  return rings.map((end) => `${end} ${end} ${end} ${end} `).join('')
}

export const DEVIATIONS: readonly Deviation[] = [
  ...[0x9c, 0x9d, 0x9e, 0x9f, 0xbc, 0xbd, 0xbe, 0xbf, 0xdc, 0xdd, 0xde, 0xdf].map((access) => ({
    kernel: 'segments', line: `gate ${access.toString(16)}`, expected: `gate ${access.toString(16)}: ${conformingGate(access)}`,
    why: 'vol. 2 CALL, SAME-PRIVILEGE: CS(RPL) becomes CPL; QEMU takes the DPL of the conforming segment',
  })),
]

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
  ...Object.entries({
    'uart, as after reset: 00 01 03 00 60 00 00': 'as firmware leaves it, 8 bits; MCR is zero after reset (16550D, table 3), where QEMU sets OUT2',
    'uart, divisor: 01 00 34 12 00': 'the data sheet has no divisor after reset; here it is that of 115200 baud, in QEMU 9600',
    'pit, control word: 70 f6 d6 e4 f9': '8254, read-back: NULL COUNT is set by a control word; OUT is high in mode 4. QEMU has no NULL COUNT',
    'pit, count held by the gate: 30 34 12 34 12 00': '8254, mode 0: GATE = 0 disables counting; QEMU counts on',
    'pit, low and high byte alone: 56 56 78 78': '8254, mode 0: GATE = 0 disables counting; QEMU counts on',
    'pit, latch of status and count: 30 cd ab cd': '8254, mode 0: GATE = 0 disables counting; QEMU counts on',
    'i8042, status: 14': 'as firmware leaves it: the self-test has passed',
    'i8042, status tells a command from data: 1c 14': 'PS/2 reference: bit 3 tells where the last write went; QEMU has it set always',
    'lapic, masked while it is off: 00010020 00010700': 'vol. 3, 11.4.7.2: the mask bits cannot be reset while software has the APIC off',
    'lapic, errors: 00000000 00040005 00000020 00000000': 'vol. 3, 11.5.3: bit 5, send illegal vector, for a vector below 16; QEMU checks no vector',
  }).map(([expected, why]) => ({ kernel: 'devices', line: expected.split(':', 1)[0], expected, why })),
]

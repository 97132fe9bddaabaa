/**
 * Questions of a guest to its terminal: what it is, where its cursor stands, which colours it has. Whoever reads a console's past
 * would answer them all once more, and each answer would be keys for whatever runs there now.
 */

// Built from strings: lint forbids control characters in literals, and they are what this is about.
const ESC = '\\u001b'
const END = `(?:\\u0007|${ESC}\\\\)`
/** By the names of xterm's "Control Sequences": what makes a terminal answer. */
const QUERIES = new RegExp([
  '\\u0005', // ENQ
  `${ESC}Z`, // DECID
  `${ESC}\\[\\??[0-9;]*n`, // DSR: status, position of the cursor
  `${ESC}\\[[>=]?[0-9;]*c`, // DA
  `${ESC}\\[\\??[0-9;]*\\$p`, // DECRQM: a mode
  `${ESC}\\[[0-9;]*x`, // DECREQTPARM
  `${ESC}\\[>[0-9;]*q`, // XTVERSION
  `${ESC}\\[\\?u`, // keyboard protocol of kitty
  `${ESC}\\[(?:1[1345689]|2[01])[0-9;]*t`, // XTWINOPS: size, place and title of the window
  `${ESC}P[$+]q[^\\u001b\\u0007]*${END}`, // DECRQSS: a setting; XTGETTCAP
  `${ESC}\\][0-9;]*;\\?${END}`, // OSC 4, 10 to 19: a colour
].join('|'), 'g')

/** @param said raw bytes of a console @returns the same without what a terminal would answer */
export function withoutQueries(said: Uint8Array): Uint8Array {
  const text = Buffer.from(said.buffer, said.byteOffset, said.byteLength).toString('latin1')
  return Buffer.from(text.replace(QUERIES, ''), 'latin1')
}

/**
 * Questions of a guest to its terminal: what it is, where its cursor stands, which colours it has. Whoever reads a console's past
 * would answer them all once more, and of several terminals each would answer: all of it would be keys for whatever runs there.
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

/** The end of a text that may go on to be a question: what it begins with, or all of it but the end. */
const UNFINISHED = new RegExp(`${ESC}(?:\\[[?>=]?[0-9;]*\\$?|P(?:[$+](?:q[^\\u001b\\u0007]*)?)?${ESC}?|\\][0-9;]*(?:;\\?)?${ESC}?)?$`)
/** Longer ones are no questions, whatever they begin with. */
const MOST_UNFINISHED = 256

/** What a terminal answers: reports of cursor, status, attributes, modes, window and focus (CSI), settings (DCS), colours (OSC). */
const ANSWER = new RegExp(`^${ESC}(?:\\[[?>]?[0-9;]*(?:[RcntxuIO]|\\$y)|[P\\]])`)

/** Whether a terminal says this by itself, and no person. */
export const isAnswer = (text: string): boolean => ANSWER.test(text)

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1')

/** What a console says, for the terminal that answers and for all others. A question that comes in pieces is kept back until it is whole. */
export class QuerySplitter {
  private kept = ''

  /** Something is kept back: it belongs before what comes next. */
  get isKeeping(): boolean {
    return this.kept !== ''
  }

  /** @returns `whole` as it came, `quiet` without questions */
  split(said: Uint8Array): { readonly whole: Uint8Array; readonly quiet: Uint8Array } {
    const text = this.kept + textOf(said)
    const from = text.slice(-MOST_UNFINISHED).search(UNFINISHED)
    const end = from < 0 ? text.length : Math.max(0, text.length - MOST_UNFINISHED) + from
    this.kept = text.slice(end)
    const ready = text.slice(0, end)
    return { whole: bytesOf(ready), quiet: bytesOf(ready.replace(QUERIES, '')) }
  }
}

/** @param said raw bytes of a console @returns the same without what a terminal would answer */
export function withoutQueries(said: Uint8Array): Uint8Array {
  return bytesOf(textOf(said).replace(QUERIES, ''))
}

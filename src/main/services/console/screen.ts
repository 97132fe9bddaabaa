/** What a console showed last, as plain text: enough for a picture of a snapshot, not a terminal (the page has one). */

/** Far more than a screen, so that what is kept is whole although the text is cut anywhere. */
const TAIL_BYTES = 16 * 1024
const LINES = 25
const COLUMNS = 100

// Built from strings: lint forbids control characters in literals, and they are what this is about.
const ESC = '\\u001b'
/** The whole screen is cleared, reset or exchanged: what came before is gone. A prompt that clears behind itself is not meant. */
const CLEARS = new RegExp(`${ESC}\\[[23]J|${ESC}c|${ESC}\\[\\?1049[hl]`)
/** Sequences of ECMA-48: CSI, OSC and other strings, character sets, single characters. */
const SEQUENCES = new RegExp(
  `${ESC}(?:\\[[0-?]*[ -/]*[@-~]|[\\]PX^_][^\\u0007\\u001b]*(?:\\u0007|${ESC}\\\\)?|[ -/]+[0-~]|[0-~])`, 'g')
const OTHER_CONTROLS = /(?![\b\t\n\r])\p{Cc}/gu

/** One line as it looks in the end: carriage returns and backspaces overwrite. */
function settle(line: string): string {
  const cells: string[] = []
  let at = 0
  for (const character of line) {
    if (character === '\r') at = 0
    else if (character === '\b') at = Math.max(0, at - 1)
    else if (character === '\t') at = (at + 8) & ~7
    else cells[at++] = character
  }
  return Array.from(cells, (cell: string | undefined) => cell ?? ' ').join('').trimEnd().slice(0, COLUMNS)
}

/** @param history raw bytes of a console, oldest first @returns at most 25 lines of 100 characters, '' where nothing was said */
export function screenText(history: Uint8Array): string {
  const raw = new TextDecoder().decode(history.subarray(Math.max(0, history.length - TAIL_BYTES)))
  const parts = raw.split(CLEARS).map((part) => part.replace(SEQUENCES, '').replace(OTHER_CONTROLS, ''))
  const last = parts.filter((part) => part.trim() !== '').at(-1) ?? ''
  const lines = last.split('\n').map(settle)
  while (lines.length > 0 && lines[lines.length - 1] === '') lines.pop()
  return lines.slice(-LINES).join('\n')
}

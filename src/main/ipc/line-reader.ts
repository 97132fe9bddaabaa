/** Cuts a byte stream into lines of UTF-8 text. */

export class LineReader {
  private parts: Buffer[] = []
  private length = 0

  /** @param onTooLong called once where a line is longer than `limit` bytes; nothing is read after that */
  constructor(private readonly limit: number, private readonly onLine: (text: string) => void, private readonly onTooLong: () => void) {}

  push(chunk: Buffer): void {
    let rest = chunk
    while (this.length <= this.limit) {
      const end = rest.indexOf(10)
      if (end < 0) {
        this.keep(rest)
        return
      }
      this.parts.push(rest.subarray(0, end))
      const line = Buffer.concat(this.parts).toString('utf8')
      this.parts = []
      this.length = 0
      rest = rest.subarray(end + 1)
      if (line !== '') this.onLine(line)
    }
  }

  private keep(rest: Buffer): void {
    if (rest.length === 0) return
    this.parts.push(rest)
    this.length += rest.length
    if (this.length <= this.limit) return
    this.parts = []
    this.onTooLong()
  }
}

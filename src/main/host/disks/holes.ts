/** Where a file has holes. Node cannot ask and would read them all; GNU tar asks, and writes what it heard before any data. */
import { spawn } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Readable } from 'node:stream'
import { extract, type Header } from 'tar-stream'

export interface Extent { readonly length: number; readonly zero: boolean }
interface Range { readonly start: number; readonly end: number }

/** Smaller files are read before another program is started. */
const WORTH_A_PROGRAM_BYTES = 1 << 20
/** A file in more pieces is read like one without holes. */
const MAX_RANGES = 1 << 20
const LONGEST_NUMBER = 20

/** The map before the data of an entry: how many pieces, then offset and length of each, a line each, in decimal. */
async function readMap(entry: AsyncIterable<Buffer>): Promise<Range[] | undefined> {
  const numbers: number[] = []
  let rest = ''
  for await (const chunk of entry) {
    const lines = (rest + chunk.toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      numbers.push(Number(line))
      if (!/^\d+$/.test(line) || numbers[0] > MAX_RANGES) return undefined
      if (numbers.length === 1 + 2 * numbers[0]) return rangesOf(numbers.slice(1))
    }
    if (rest.length > LONGEST_NUMBER) return undefined
  }
  return undefined
}

/** Neighbours are one; the last piece, of no length, says only where the file ends. */
function rangesOf(numbers: readonly number[]): Range[] {
  const ranges: Range[] = []
  for (let i = 0; i < numbers.length; i += 2) {
    const [start, end] = [numbers[i], numbers[i] + numbers[i + 1]]
    const last = ranges.at(-1)
    if (last?.end === start) ranges[ranges.length - 1] = { start: last.start, end }
    else if (end > start) ranges.push({ start, end })
  }
  return ranges
}

/** Of the archive's only entry. */
function mapIn(archive: Readable): Promise<Range[] | undefined> {
  return new Promise((resolve) => {
    const parser = extract()
    parser.on('entry', (header: Header, entry) => {
      const isSparse = (header.pax as Readonly<Record<string, string>> | null | undefined)?.['GNU.sparse.major'] === '1'
      void (isSparse ? readMap(entry as AsyncIterable<Buffer>) : Promise.resolve(undefined)).catch(() => undefined).then(resolve)
    })
    parser.on('error', () => resolve(undefined))
    parser.on('finish', () => resolve(undefined))
    archive.pipe(parser)
  })
}

async function dataRanges(path: string): Promise<readonly Range[] | undefined> {
  if (process.platform !== 'linux') return undefined
  const { size, blocks } = await stat(path)
  if (size < WORTH_A_PROGRAM_BYTES || blocks * 512 >= size) return undefined
  const how = ['--create', '--format=posix', '--dereference', '--sparse', '--sparse-version=1.0', '--hole-detection=seek']
  const child = spawn('tar', [...how, '--file=-', `--directory=${dirname(path)}`, '--', basename(path)], { stdio: ['ignore', 'pipe', 'ignore'] })
  const failed = new Promise<undefined>((resolve) => child.on('error', () => resolve(undefined)))
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()))
  try {
    return await Promise.race([mapIn(child.stdout), failed])
  } finally {
    child.stdout.destroy()
    child.kill('SIGKILL')
    await Promise.race([ended, failed])
  }
}

/** Holes of a file that nobody writes to. They are asked for at the first question. */
export class Holes {
  private known: Promise<readonly Range[] | undefined> | undefined

  constructor(private readonly path: string) {}

  /** How long the range from the offset on is one hole, or else may hold something. */
  async extent(offset: number, length: number): Promise<Extent> {
    this.known ??= dataRanges(this.path).catch(() => undefined)
    const ranges = await this.known
    if (!ranges) return { length, zero: false }
    const at = firstEndingAfter(ranges, offset)
    const next = ranges[at]
    if (!next || next.start >= offset + length) return { length, zero: true }
    return next.start > offset ? { length: next.start - offset, zero: true } : { length: Math.min(length, next.end - offset), zero: false }
  }
}

function firstEndingAfter(ranges: readonly Range[], offset: number): number {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranges[middle].end > offset) high = middle
    else low = middle + 1
  }
  return low
}

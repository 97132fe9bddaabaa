/** The real CPU as an engine: compiles `native/runner.c` once and gives it batches. x86-64 Linux with gcc only. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, readSync, renameSync, rmSync, unlinkSync, writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import type { IsaEngine } from './engine'
import { IsaRecord, RECORD_BYTES, type CpuMode, type Segments } from './records'

const SOURCE = fileURLToPath(new URL('./native/runner.c', import.meta.url))

/** Path of the compiled runner; compiled where this version of the source has not been yet. */
export function buildRunner(): string {
  const hash = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16)
  const folder = join(tmpdir(), `nestbox-isa-${process.getuid?.() ?? 0}`)
  const target = join(folder, `runner-${hash}`)
  if (existsSync(target)) return target
  mkdirSync(folder, { recursive: true })
  const fresh = `${target}.${process.pid}`
  execFileSync('gcc', ['-O1', '-Wall', '-o', fresh, SOURCE], { stdio: ['ignore', 'inherit', 'inherit'] })
  renameSync(fresh, target)
  return target
}

/** Why this computer cannot run instructions natively; undefined where it can. */
export function nativeProblem(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return `needs Linux on x86-64, this is ${process.platform} on ${process.arch}`
  if (spawnSync('gcc', ['--version']).status !== 0) return 'gcc is not installed'
  return undefined
}

const ENVIRONMENTS: readonly (readonly [CpuMode, Segments])[] = [[16, 'plain'], [16, 'odd'], [32, 'plain'], [64, 'plain']]
const REPLY_BYTES = 8

/** Both ends of a named pipe that has no name any more. */
function pipe(path: string): { readonly reader: number; readonly writer: number } {
  execFileSync('mkfifo', ['-m', '600', path])
  // Opened for both first: either end alone would wait for the other.
  const both = openSync(path, constants.O_RDWR)
  const ends = { reader: openSync(path, 'r'), writer: openSync(path, 'w') }
  closeSync(both)
  unlinkSync(path)
  return ends
}

/** The runner as a process that stays: cases go through a file, commands and replies through pipes. It ends with this process. */
class Runner {
  private readonly cases: number
  private readonly commands: number
  private readonly replies: number

  constructor(program: string) {
    const folder = mkdtempSync(join(tmpdir(), 'nestbox-isa-run-'))
    try {
      this.cases = openSync(join(folder, 'cases'), 'w+', 0o600)
      const [to, from] = [pipe(join(folder, 'to')), pipe(join(folder, 'from'))]
      const child = spawn(program, { stdio: [to.reader, from.writer, 'inherit', this.cases] })
      // One that does not start has closed its ends: the first reply says so.
      child.on('error', () => {})
      child.unref()
      closeSync(to.reader)
      closeSync(from.writer)
      this.commands = to.writer
      this.replies = from.reader
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  /** Puts cases into the file. */
  load(records: Uint8Array): void {
    writeSync(this.cases, records, 0, records.length, 0)
  }

  /** Runs a stretch of what was loaded. */
  run(mode: CpuMode, segments: Segments, first: number, count: number): void {
    writeSync(this.commands, Int32Array.of(mode, segments === 'odd' ? 1 : 0, first, count))
    const reply = new Int32Array(REPLY_BYTES / 4)
    const got = readSync(this.replies, reply)
    const end = got === REPLY_BYTES ? `wait status 0x${reply[0].toString(16)}, ${reply[1]} of ${count} results` : 'it has ended'
    if (got !== REPLY_BYTES || reply[0] !== 0 || reply[1] !== count) throw new Error(`native runner (${mode} bit, ${segments}): ${end}`)
  }

  /** Takes the results, in their cases' places. */
  results(into: Uint8Array): void {
    const got = readSync(this.cases, into, 0, into.length, 0)
    if (got !== into.length) throw new Error(`native runner: ${got} of ${into.length} bytes of results`)
  }
}

export function createNativeEngine(): IsaEngine {
  const runner = new Runner(buildRunner())
  return {
    name: 'native',
    run(cases) {
      const order = ENVIRONMENTS.map(([mode, segments]) =>
        [...cases.keys()].filter((i) => cases[i].mode === mode && (cases[i].segments ?? 'plain') === segments))
      const bytes = new Uint8Array(cases.length * RECORD_BYTES)
      order.flat().forEach((from, at) => bytes.set(cases[from].input.bytes, at * RECORD_BYTES))
      runner.load(bytes)
      let first = 0
      ENVIRONMENTS.forEach(([mode, segments], i) => {
        if (order[i].length > 0) runner.run(mode, segments, first, order[i].length)
        first += order[i].length
      })
      runner.results(bytes)
      const results = new Array<IsaRecord>(cases.length)
      order.flat().forEach((from, at) => { results[from] = new IsaRecord(bytes.subarray(at * RECORD_BYTES, (at + 1) * RECORD_BYTES)) })
      return results
    },
  }
}

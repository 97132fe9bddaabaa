/** The real CPU as an engine: compiles `native/runner.c` once and feeds it batches. x86-64 Linux with gcc only. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import type { IsaCase, IsaEngine } from './engine'
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

function runMode(runner: string, mode: CpuMode, segments: Segments, cases: readonly IsaCase[]): Uint8Array {
  const input = Buffer.concat(cases.map((one) => one.input.bytes))
  const result = spawnSync(runner, [String(mode), segments], { input, maxBuffer: input.length + 65_536 })
  if (result.status !== 0 || result.stdout.length !== input.length) {
    const reached = result.stdout.length / RECORD_BYTES
    const end = `status ${result.status}, signal ${result.signal}, ${reached} of ${cases.length} results`
    throw new Error(`native runner (${mode} bit): ${end}. ${result.stderr.toString()}`)
  }
  return result.stdout
}

const ENVIRONMENTS: readonly (readonly [CpuMode, Segments])[] = [[16, 'plain'], [16, 'odd'], [32, 'plain'], [64, 'plain']]

export function createNativeEngine(): IsaEngine {
  const runner = buildRunner()
  return {
    name: 'native',
    run(cases) {
      const results = new Array<IsaRecord>(cases.length)
      for (const [mode, segments] of ENVIRONMENTS) {
        const indexes = cases.flatMap((one, i) => (one.mode === mode && (one.segments ?? 'plain') === segments ? [i] : []))
        if (indexes.length === 0) continue
        const bytes = runMode(runner, mode, segments, indexes.map((i) => cases[i]))
        indexes.forEach((at, i) => { results[at] = new IsaRecord(bytes.subarray(i * RECORD_BYTES, (i + 1) * RECORD_BYTES)) })
      }
      return results
    },
  }
}

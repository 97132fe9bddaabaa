/** `npm test`: installs what is missing, then lint, type check, build and every test suite; prints one summary. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ensureNpmPackages } from './setup/npm.mjs'
import { TEST_PACKAGES, ensureSystemPackages } from './setup/packages.mjs'
import { root, say } from './setup/run.mjs'
import { afterSecondTry, areAllIn, failureLines, flakyLines, hasFailed, outcomesOf } from './test-report.mjs'

const SUITES = ['unit', 'renderer', 'isa', 'system', 'devices', 'state', 'services', 'boot', 'e2e', 'fuzz']
const ROOTS = { unit: 'src', renderer: 'src/renderer', isa: 'tests', system: 'tests/system', devices: 'tests/devices', state: 'tests/state', services: 'tests/services', boot: 'tests/boot', e2e: 'tests/e2e', fuzz: 'tests/fuzz' }

/** Paths of a suite's test files, from the root. */
function testFilesIn(dir) {
  const all = existsSync(join(root, dir)) ? readdirSync(join(root, dir), { recursive: true, encoding: 'utf8' }) : []
  return all.filter((file) => file.endsWith('.test.ts')).map((file) => join(dir, file))
}

/** Real windows on a busy computer: what fails here by chance fails no run, but is told. */
const TRIED_TWICE = 'e2e'

/** A step that hangs is ended, and counts as failed. */
const STEP_LIMIT_MS = 20 * 60_000

const totals = { passed: 0, failed: 0, skipped: 0 }
const notes = []
/** What failed, with its first lines: printed last, where a cut log still shows it. */
const failures = []
/** What failed, and passed when it was tried once more. */
const flaky = []

/** A step that either works or fails as a whole counts as one test. */
function step(name, command, args) {
  process.stdout.write(`\n── ${name}\n`)
  const started = Date.now()
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], timeout: STEP_LIMIT_MS, killSignal: 'SIGKILL' })
  if (status === 0) totals.passed++
  else totals.failed++
  notes.push(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} (${Math.round((Date.now() - started) / 1000)} s)`)
}

/** Runs a suite, or some files of it. @param report the name of its report */
function runSuite(name, args, report = name) {
  const path = join(root, '.cache', 'reports', `${report}.json`)
  rmSync(path, { force: true })
  const started = Date.now()
  const all = ['--no-install', 'vitest', 'run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${path}`, ...args]
  // End-to-end tests open real windows: on a display of their own where there is none.
  const [command, prefix] = name === 'e2e' && !process.env.DISPLAY ? ['xvfb-run', ['-a', '-s', '-screen 0 1400x900x24', 'npx']] : ['npx', []]
  const { status } = spawnSync(command, [...prefix, ...all], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], timeout: STEP_LIMIT_MS, killSignal: 'SIGKILL' })
  return { name, status, outcomes: existsSync(path) ? outcomesOf(JSON.parse(readFileSync(path, 'utf8')), root) : [], milliseconds: Date.now() - started }
}

/** Adds a suite to the summary. */
function count({ name, status, outcomes, milliseconds }) {
  const sum = (of) => outcomes.reduce((all, outcome) => all + of(outcome), 0)
  const passed = sum((outcome) => outcome.passed.length)
  const failed = sum((outcome) => outcome.failures.length)
  totals.passed += passed
  totals.skipped += sum((outcome) => outcome.skipped)
  // A suite that died without a failing test still failed.
  totals.failed += failed + (status !== 0 && failed === 0 ? 1 : 0)
  failures.push(...failureLines(name, outcomes))
  flaky.push(...flakyLines(name, outcomes))
  notes.push(`${status === 0 && failed === 0 ? 'ok    ' : 'FAILED'} ${name}: ${passed} passed, ${failed} failed (${Math.round(milliseconds / 1000)} s)`)
}

/** @returns the run of a suite whose files are to be tried once more */
function suite(name) {
  const files = testFilesIn(ROOTS[name])
  if (files.length === 0) {
    notes.push(`none   ${name}: no tests yet`)
    return []
  }
  process.stdout.write(`\n── tests: ${name}\n`)
  const wanted = process.argv.slice(2)
  const run = runSuite(name, wanted)
  // Where a file was never run, a second try of others would hide it.
  const isWhole = wanted.length > 0 || areAllIn(run.outcomes, files)
  if (name === TRIED_TWICE && isWhole && run.outcomes.some(hasFailed)) return [run]
  count(run)
  return []
}

/** The files that failed, once more, each in a fresh app. What the first try drew is kept. */
function tryAgain(first) {
  const files = first.outcomes.filter(hasFailed).map(({ file }) => file)
  process.stdout.write(`\n── tests: ${first.name}, the second try of ${files.join(', ')}\n`)
  const [drawn, kept] = [join(root, 'test-results', 'e2e'), join(root, 'test-results', 'e2e-first-try')]
  rmSync(kept, { recursive: true, force: true })
  if (existsSync(drawn)) cpSync(drawn, kept, { recursive: true })
  const second = runSuite(first.name, files, `${first.name}-second-try`)
  count({ ...second, outcomes: afterSecondTry(first.outcomes, second.outcomes), milliseconds: first.milliseconds + second.milliseconds })
}

try {
  ensureSystemPackages(TEST_PACKAGES)
  ensureNpmPackages()
  const { ensureGuests } = await import('./setup/guests.mjs')
  ensureGuests()
} catch (error) {
  say(error.message)
  process.exit(1)
}
mkdirSync(join(root, '.cache', 'reports'), { recursive: true })
step('lint', 'npx', ['--no-install', 'eslint', '.', '--max-warnings=-1'])
step('typecheck', 'node', ['scripts/typecheck.mjs'])
step('build', 'node', ['scripts/build.mjs'])
if (process.platform === 'linux') step('package', 'node', ['scripts/package.mjs', '--no-build'])
for (const run of SUITES.flatMap(suite)) tryAgain(run)

if (totals.skipped > 0) notes.push(`skipped by their own conditions: ${totals.skipped}`)
if (flaky.length > 0) process.stdout.write(`\n── passed at the second try (pictures of the first: test-results/e2e-first-try)\n${flaky.join('\n')}\n`)
if (failures.length > 0) process.stdout.write(`\n── failures\n${failures.join('\n')}\n`)
// The last line is for programs: these words alone.
process.stdout.write(`\n${notes.join('\n')}\n\n${totals.passed} passed, ${totals.failed} failed\n`)
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1

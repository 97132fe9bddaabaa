/** `npm test`: installs what is missing, then lint, type check, build and every test suite; prints one summary. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { ensureNpmPackages } from './setup/npm.mjs'
import { TEST_PACKAGES, ensureSystemPackages } from './setup/packages.mjs'
import { root, say } from './setup/run.mjs'

const SUITES = ['unit', 'renderer', 'isa', 'system', 'devices', 'state', 'services', 'boot', 'e2e', 'fuzz']
const ROOTS = { unit: 'src', renderer: 'src/renderer', isa: 'tests', system: 'tests/system', devices: 'tests/devices', state: 'tests/state', services: 'tests/services', boot: 'tests/boot', e2e: 'tests/e2e', fuzz: 'tests/fuzz' }

function hasTests(dir) {
  if (!existsSync(dir)) return false
  return readdirSync(dir, { withFileTypes: true }).some((entry) =>
    entry.isDirectory() ? hasTests(join(dir, entry.name)) : entry.name.endsWith('.test.ts'))
}

/** A step that hangs is ended, and counts as failed. */
const STEP_LIMIT_MS = 20 * 60_000

const totals = { passed: 0, failed: 0, skipped: 0 }
const notes = []
/** What failed, with its first lines: printed last, where a cut log still shows it. */
const failures = []

const LINES_OF_A_FAILURE = 14

/** Adds the failed tests of a suite's JSON report, and the files that did not load. */
function noteFailures(name, result) {
  for (const file of result.testResults ?? []) {
    const failed = file.assertionResults.filter((test) => test.status === 'failed')
    if (failed.length === 0 && file.status === 'failed') failures.push(`${name}: ${relative(root, file.name)}\n${excerpt(file.message)}`)
    for (const test of failed) failures.push(`${name}: ${relative(root, file.name)} › ${test.fullName}\n${excerpt(test.failureMessages.join('\n'))}`)
  }
}

function excerpt(text) {
  return stripVTControlCharacters(text ?? '').split('\n').slice(0, LINES_OF_A_FAILURE).map((line) => `    ${line.slice(0, 300)}`).join('\n')
}

/** A step that either works or fails as a whole counts as one test. */
function step(name, command, args) {
  process.stdout.write(`\n── ${name}\n`)
  const started = Date.now()
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], timeout: STEP_LIMIT_MS, killSignal: 'SIGKILL' })
  if (status === 0) totals.passed++
  else totals.failed++
  notes.push(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} (${Math.round((Date.now() - started) / 1000)} s)`)
}

function suite(name) {
  if (!hasTests(join(root, ROOTS[name]))) {
    notes.push(`none   ${name}: no tests yet`)
    return
  }
  process.stdout.write(`\n── tests: ${name}\n`)
  const report = join(root, '.cache', 'reports', `${name}.json`)
  rmSync(report, { force: true })
  const started = Date.now()
  const args = ['--no-install', 'vitest', 'run', '--project', name, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...process.argv.slice(2)]
  // End-to-end tests open real windows: on a display of their own where there is none.
  const [command, prefix] = name === 'e2e' && !process.env.DISPLAY ? ['xvfb-run', ['-a', '-s', '-screen 0 1400x900x24', 'npx']] : ['npx', []]
  const { status } = spawnSync(command, [...prefix, ...args], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], timeout: STEP_LIMIT_MS, killSignal: 'SIGKILL' })
  const seconds = Math.round((Date.now() - started) / 1000)
  const result = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0 }
  totals.passed += result.numPassedTests
  totals.skipped += result.numPendingTests
  // A suite that died without a failing test (a file that does not load) still failed.
  totals.failed += result.numFailedTests + (status !== 0 && result.numFailedTests === 0 ? 1 : 0)
  noteFailures(name, result)
  notes.push(`${status === 0 ? 'ok    ' : 'FAILED'} ${name}: ${result.numPassedTests} passed, ${result.numFailedTests} failed (${seconds} s)`)
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
for (const name of SUITES) suite(name)

if (totals.skipped > 0) notes.push(`skipped by their own conditions: ${totals.skipped}`)
if (failures.length > 0) process.stdout.write(`\n── failures\n${failures.join('\n')}\n`)
// The last line is for programs: these words alone.
process.stdout.write(`\n${notes.join('\n')}\n\n${totals.passed} passed, ${totals.failed} failed\n`)
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1

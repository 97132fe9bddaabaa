/** What a suite's JSON report says, file by file, and what a second try of the files that failed changes about it. */
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'

const LINES_OF_A_FAILURE = 14

/**
 * @typedef {{ test?: string, text: string }} Failure a test that failed, or a whole file that could not be run
 * @typedef {{ file: string, passed: string[], skipped: number, failures: Failure[], flaky: Failure[] }} Outcome of one file; `flaky` failed at the first try only
 */

/** Where a failure passed through other people's code says nothing. */
const isForeign = (line) => /^\s+at .*\/node_modules\//.test(line)

function excerpt(text) {
  return stripVTControlCharacters(text ?? '').split('\n').filter((line) => !isForeign(line)).slice(0, LINES_OF_A_FAILURE).map((line) => `    ${line.slice(0, 300)}`).join('\n')
}

/** @returns {Outcome[]} of vitest's JSON report, with paths from `root` */
export function outcomesOf(report, root) {
  return (report.testResults ?? []).map(({ name, status, message, assertionResults }) => {
    const of = (wanted) => assertionResults.filter((test) => test.status === wanted)
    const failures = of('failed').map((test) => ({ test: test.fullName, text: excerpt(test.failureMessages.join('\n')) }))
    // A file that does not load, or whose preparations fail, has no failed test.
    if (failures.length === 0 && status === 'failed') failures.push({ text: excerpt(message) })
    const passed = of('passed').map((test) => test.fullName)
    return { file: relative(root, name), passed, skipped: assertionResults.length - passed.length - of('failed').length, failures, flaky: [] }
  })
}

export const hasFailed = ({ failures }) => failures.length > 0

/** Whether a report speaks of every file: one whose process died may be missing. @param {Outcome[]} outcomes @param {string[]} files */
export const areAllIn = (outcomes, files) => files.every((wanted) => outcomes.some(({ file }) => file === wanted))

/**
 * A file that failed and was run once more: it counts as passed, and as flaky, only where nothing failed then and the very tests passed that had failed.
 * @param {Outcome[]} first of the whole suite
 * @param {Outcome[]} second of the files that were run again
 * @returns {Outcome[]} of the whole suite
 */
export function afterSecondTry(first, second) {
  return first.map((before) => {
    const after = second.find(({ file }) => file === before.file)
    if (!hasFailed(before) || !after) return before
    const isMended = !hasFailed(after) && after.passed.length > 0 && before.failures.every(({ test }) => test === undefined || after.passed.includes(test))
    if (isMended) return { ...after, flaky: before.failures }
    // Both may have failed in ways of their own.
    return { ...after, failures: [...before.failures, ...after.failures.filter(({ test }) => !before.failures.some((one) => one.test === test))] }
  })
}

/** @returns {string[]} of each failure of a suite: where, and its first lines */
export function failureLines(suite, outcomes) {
  return outcomes.flatMap(({ file, failures }) => failures.map((failure) => `${suite}: ${place(file, failure)}\n${failure.text}`))
}

/** @returns {string[]} the same of what failed at the first try only */
export function flakyLines(suite, outcomes) {
  return outcomes.flatMap(({ file, flaky }) => flaky.map((failure) => `FLAKY ${suite}: ${place(file, failure)}, passed at the second try\n${failure.text}`))
}

const place = (file, { test }) => (test === undefined ? file : `${file} › ${test}`)

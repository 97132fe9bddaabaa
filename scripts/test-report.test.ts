import { describe, expect, it } from 'vitest'

interface Failure {
  readonly test?: string
  readonly text: string
}
interface Outcome {
  readonly file: string
  readonly passed: readonly string[]
  readonly skipped: number
  readonly failures: readonly Failure[]
  readonly flaky: readonly Failure[]
}
interface TestReport {
  outcomesOf(report: object, root: string): Outcome[]
  hasFailed(outcome: Outcome): boolean
  areAllIn(outcomes: readonly Outcome[], files: readonly string[]): boolean
  afterSecondTry(first: readonly Outcome[], second: readonly Outcome[]): Outcome[]
  failureLines(suite: string, outcomes: readonly Outcome[]): string[]
  flakyLines(suite: string, outcomes: readonly Outcome[]): string[]
}
const { afterSecondTry, areAllIn, failureLines, flakyLines, hasFailed, outcomesOf } = await import('./test-report.mjs' as string) as TestReport

const ROOT = '/work/nestbox'

interface Tests { readonly [fullName: string]: 'passed' | 'failed' | 'skipped' }

const file = (name: string, tests: Tests, message = ''): object => ({
  name: `${ROOT}/tests/e2e/${name}`,
  status: message !== '' || Object.values(tests).includes('failed') ? 'failed' : 'passed',
  message,
  assertionResults: Object.entries(tests).map(([fullName, status]) => ({ fullName, status, failureMessages: status === 'failed' ? [`\u001b[31mno ${fullName}\u001b[39m\n  at a line\n    at file:///x/node_modules/y.js:1:1`] : [] })),
})
const outcomes = (...files: object[]): Outcome[] => outcomesOf({ testResults: files }, ROOT)

describe('a report', () => {
  it('is read file by file, with failures as plain text, as far as they are ours', () => {
    expect(outcomes(file('keys.test.ts', { 'opens a dialog': 'passed', 'closes it': 'failed', 'on a Mac': 'skipped' }))).toEqual([{
      file: 'tests/e2e/keys.test.ts', passed: ['opens a dialog'], skipped: 1, flaky: [],
      failures: [{ test: 'closes it', text: '    no closes it\n      at a line' }],
    }])
  })

  it('of a file that does not load has a failure without a test', () => {
    const read = outcomes(file('keys.test.ts', {}, 'not built: out/main/index.cjs'))
    expect(failureLines('e2e', read)).toEqual(['e2e: tests/e2e/keys.test.ts\n    not built: out/main/index.cjs'])
  })

  it('tells whether a file is missing', () => {
    const read = outcomes(file('keys.test.ts', { opens: 'failed' }))
    expect(areAllIn(read, ['tests/e2e/keys.test.ts'])).toBe(true)
    expect(areAllIn(read, ['tests/e2e/browser.test.ts', 'tests/e2e/keys.test.ts'])).toBe(false)
  })

  it('that was never written holds nothing', () => {
    expect(outcomesOf({}, ROOT)).toEqual([])
  })

  it('keeps a failure short', () => {
    const [{ failures }] = outcomes(file('keys.test.ts', {}, Array.from({ length: 100 }, () => 'x'.repeat(1_000)).join('\n')))
    expect(failures[0].text.split('\n').map((line) => line.length)).toEqual(Array.from({ length: 14 }, () => 304))
  })
})

describe('a second try', () => {
  const sound = file('browser.test.ts', { boots: 'passed' })
  const first = outcomes(sound, file('keys.test.ts', { opens: 'passed', closes: 'failed' }))
  const closes = first[1].failures[0]

  it('that passes makes the file pass, and says what was flaky and how it failed', () => {
    const both = afterSecondTry(first, outcomes(file('keys.test.ts', { opens: 'passed', closes: 'passed' })))
    expect(both.some(hasFailed)).toBe(false)
    expect(both.map(({ passed }) => passed)).toEqual([['boots'], ['opens', 'closes']])
    expect(flakyLines('e2e', both)).toEqual([`FLAKY e2e: tests/e2e/keys.test.ts › closes, passed at the second try\n${closes.text}`])
    expect(failureLines('e2e', both)).toEqual([])
  })

  it('that fails the same way stays failed, and is no flaky one', () => {
    const both = afterSecondTry(first, outcomes(file('keys.test.ts', { opens: 'passed', closes: 'failed' })))
    expect(both[1].failures).toEqual([closes])
    expect(flakyLines('e2e', both)).toEqual([])
  })

  it('that fails elsewhere stays failed, with both failures', () => {
    const both = afterSecondTry(first, outcomes(file('keys.test.ts', { opens: 'failed', closes: 'passed' })))
    expect(both[1].failures.map(({ test }) => test)).toEqual(['closes', 'opens'])
  })

  it('in which the test that had failed was not run does not mend it', () => {
    expect(afterSecondTry(first, outcomes(file('keys.test.ts', { opens: 'passed', closes: 'skipped' })))[1].failures).toEqual([closes])
    expect(afterSecondTry(first, outcomes(file('keys.test.ts', { opens: 'passed' })))[1].failures).toEqual([closes])
    expect(afterSecondTry(first, [])).toEqual(first)
  })

  it('of a file that did not load counts once anything passes, and never where nothing ran', () => {
    const unloaded = outcomes(file('keys.test.ts', {}, 'the app did not start'))
    expect(afterSecondTry(unloaded, outcomes(file('keys.test.ts', { opens: 'passed' }))).some(hasFailed)).toBe(false)
    expect(flakyLines('e2e', afterSecondTry(unloaded, outcomes(file('keys.test.ts', { opens: 'passed' }))))[0]).toMatch(/^FLAKY e2e: tests\/e2e\/keys\.test\.ts, passed/)
    expect(afterSecondTry(unloaded, outcomes(file('keys.test.ts', {}))).some(hasFailed)).toBe(true)
    expect(afterSecondTry(unloaded, outcomes(file('keys.test.ts', {}, 'the app did not start'))).some(hasFailed)).toBe(true)
  })

  it('never changes a file that had passed', () => {
    expect(afterSecondTry(first, outcomes(file('browser.test.ts', { boots: 'failed' })))[0]).toEqual(first[0])
  })
})

import { describe, expect, it } from 'vitest'

interface Cell {
  readonly median?: number
  readonly min?: number
  readonly max?: number
  readonly samples?: readonly number[]
  readonly error?: string
  readonly details?: readonly unknown[]
}
interface Row {
  readonly name: string
  readonly title: string
  readonly kind: string
  readonly width: number
  readonly differ?: string
  readonly peers: Readonly<Record<string, Cell>>
}
interface Results {
  declare(row: Omit<Row, 'peers'>, peers: readonly string[]): void
  add(name: string, peer: string, seconds: number, more?: { cpu?: number; result?: string; detail?: unknown }): void
  fail(name: string, peer: string, message: string): void
  hasFailed(name: string, peer: string): boolean
  rows(): Row[]
}
interface Options {
  readonly rows: readonly string[]
  readonly peers: readonly string[]
  readonly widths: readonly number[]
}

const load = async (file: string): Promise<unknown> => import(new URL(file, import.meta.url).href)
const { Results, withTier0Row } = (await load('./results.mjs')) as { Results: new () => Results; withTier0Row(rows: readonly Row[], tier0: object): Row[] }
const { timesTable, renderReport } = (await load('./table.mjs')) as {
  timesTable(rows: readonly Row[], titles: Readonly<Record<string, string>>): string
  renderReport(report: object): string
}
const { judge } = (await load('./targets.mjs')) as { judge(rows: readonly Row[]): { aim: string; value: number; met: boolean }[] }
const { replaceBetweenMarks } = (await load('./report.mjs')) as { replaceBetweenMarks(text: string, name: string, content: string): string }
const { parseOptions } = (await load('./options.mjs')) as { parseOptions(argv: readonly string[]): Options }
const { residentOfMapping } = (await load('./process-figures.mjs')) as { residentOfMapping(smaps: string, bytes: number): number | undefined }
const { TimedText } = (await load('./console.mjs')) as { TimedText: new () => { add(text: string, at: number): void; timeAt(end: number): number } }

const TITLES = { nestbox: 'Nestbox', qemu: 'QEMU TCG', v86: 'v86' }

function measured(): Results {
  const results = new Results()
  for (const name of ['loop-32', 'pipe-32', 'awk-32']) results.declare({ name, title: name, kind: 'program', width: 32 }, ['nestbox', 'qemu', 'v86'])
  for (const seconds of [1, 3, 2]) results.add('loop-32', 'nestbox', seconds, { cpu: seconds / 2, result: '7' })
  results.add('loop-32', 'qemu', 4, { cpu: 4, result: '7' })
  results.add('loop-32', 'v86', 8, { result: '7' })
  results.add('pipe-32', 'nestbox', 2, { result: '1' })
  results.add('pipe-32', 'qemu', 1, { result: '2' })
  results.add('pipe-32', 'v86', 2, { result: '2' })
  results.fail('awk-32', 'nestbox', 'no END in 9 s')
  results.add('awk-32', 'qemu', 1, { result: '5' })
  return results
}

describe('the report', () => {
  const rows = measured().rows()

  it('shows medians with least and most, ratios both ways, and losses', () => {
    const lines = timesTable(rows, TITLES).split('\n')
    expect(lines[0]).toBe('| seconds | Nestbox | QEMU TCG | v86 | Nestbox ÷ QEMU | Nestbox ÷ QEMU, CPU time | v86 ÷ Nestbox | v86 ÷ Nestbox, CPU time |')
    expect(lines[2]).toBe('| loop-32 | 2.00 (1.00–3.00) | 4.00 | 8.00 | 0.50 | 0.25 | 4.00 | – |')
    expect(lines[3]).toBe('| pipe-32 **(results differ)** | 2.00 | 1.00 | 2.00 | 2.00 | – | 1.00 | – |')
    expect(lines[4]).toBe('| awk-32 | **failed** | 1.00 | – | – | – | – | – |')
    expect(lines[5]).toContain('**1.00 (1 missing)** | **0.25 (2 missing)** | **2.00 (1 missing)** | **–**')
  })

  it('leaves out a peer that has no such rows', () => {
    expect(timesTable([{ name: 'x', title: 'x', kind: 'program', width: 64, peers: { nestbox: {}, qemu: {} } }], TITLES).split('\n')[0])
      .toBe('| seconds | Nestbox | QEMU TCG | Nestbox ÷ QEMU | Nestbox ÷ QEMU, CPU time |')
  })

  it('says who computed what where results differ', () => {
    expect(rows[1].differ).toBe('nestbox: 1; qemu: 2; v86: 2')
    expect(rows[0].differ).toBeUndefined()
  })

  it('shows what was measured before a failure, and does not compare it', () => {
    const results = measured()
    results.fail('loop-32', 'nestbox', 'hung')
    expect(timesTable(results.rows(), TITLES).split('\n')[2]).toBe('| loop-32 | 2.00, then **failed** | 4.00 | 8.00 | – | – | – | – |')
  })

  it('does not ask a peer again that failed', () => {
    expect(measured().hasFailed('awk-32', 'nestbox')).toBe(true)
    expect(measured().hasFailed('awk-32', 'qemu')).toBe(false)
  })

  it('does not call an aim met that leaves out a failure', () => {
    const aim = judge(rows).find(({ aim: text }) => text.includes('v86'))
    expect(aim?.value).toBeCloseTo(2)
    expect(aim?.met).toBe(false)
    const good = judge(rows.slice(0, 1)).find(({ aim: text }) => text.includes('v86'))
    expect(good?.met).toBe(true)
  })

  it('replaces what stands between its marks, and nothing else', () => {
    const text = 'a\n<!-- bench:all -->\nold\n<!-- /bench:all -->\nb <!-- bench:boot --><!-- /bench:boot -->'
    expect(replaceBetweenMarks(text, 'all', 'new\n')).toBe('a\n<!-- bench:all -->\n\nnew\n\n<!-- /bench:all -->\nb <!-- bench:boot --><!-- /bench:boot -->')
    expect(() => replaceBetweenMarks(text, 'other', 'x')).toThrow('no marks')
  })
})

describe('the interpreter alone', () => {
  const TIER0 = { guest: 'amd64-cloud', peer: 'nestbox-t0' }
  const boots = (peers: readonly string[]): Results => {
    const results = new Results()
    results.declare({ name: 'boot-amd64-cloud-cold', title: 'cloud, cold boot', kind: 'boot', width: 64 }, peers)
    results.declare({ name: 'boot-amd64-cloud-warm', title: 'cloud, warm boot', kind: 'boot', width: 64 }, peers.filter((peer) => peer !== 'nestbox-t0'))
    for (const peer of peers) results.add('boot-amd64-cloud-cold', peer, { nestbox: 3, qemu: 2, 'nestbox-t0': 5 }[peer] ?? 0, { cpu: 4 })
    return results
  }

  it('has a row beside the same QEMU, and an aim', () => {
    const rows = withTier0Row(boots(['nestbox', 'qemu', 'nestbox-t0']).rows(), TIER0)
    const lines = timesTable(rows, { nestbox: 'Nestbox', qemu: 'QEMU TCG' }).split('\n')
    expect(lines.slice(2, 4)).toEqual(['| cloud, cold boot | 3.00 | 2.00 | 1.50 | 1.00 |', '| cloud, cold boot on tier 0 alone | 5.00 | 2.00 | 2.50 | 1.00 |'])
    expect(judge(rows).find(({ aim }) => aim.includes('tier 0'))).toMatchObject({ value: 2.5, met: true })
  })

  it('is a column too where it was asked for', () => {
    const rows = withTier0Row(boots(['nestbox', 'qemu', 'nestbox-t0']).rows(), TIER0)
    const lines = timesTable(rows, { nestbox: 'Nestbox', qemu: 'QEMU TCG', 'nestbox-t0': 'Nestbox, tier 0' }).split('\n')
    expect(lines[2]).toBe('| cloud, cold boot | 3.00 | 2.00 | 5.00 | 1.50 | 1.00 |')
    expect(lines[3]).toBe('| cloud, cold boot on tier 0 alone | 5.00 | 2.00 | – | 2.50 | 1.00 |')
  })

  it('is reported once where it fails, and judged by no aim', () => {
    const results = boots(['nestbox', 'qemu', 'nestbox-t0'])
    results.fail('boot-amd64-cloud-cold', 'nestbox-t0', 'hung')
    const rows = withTier0Row(results.rows(), TIER0)
    const report = renderReport({ when: '2026-11-30T00:00:00Z', versions: {}, load: [0, 0], titles: { nestbox: 'Nestbox', qemu: 'QEMU TCG' }, rows, remarks: [] })
    expect(report.match(/hung/g)).toHaveLength(1)
    expect(report).toContain('- Nestbox, boot-amd64-cloud-tier0: hung')
    expect(judge(rows).some(({ aim }) => aim.includes('tier 0'))).toBe(false)
  })

  it('is not there where Nestbox is not', () => {
    expect(withTier0Row(boots(['qemu']).rows(), TIER0).map(({ name }) => name)).toEqual(['boot-amd64-cloud-cold', 'boot-amd64-cloud-warm'])
  })
})

describe('options', () => {
  it('knows rows by name and by group', () => {
    expect(parseOptions(['--only', 'boot,awk']).rows).toEqual(['boot-amd64-cloud', 'boot-amd64', 'boot-i386', 'awk'])
    expect(parseOptions(['boot']).rows).toContain('idle')
  })

  it('adds tiers to the peers', () => {
    expect(parseOptions(['--peers', 'nestbox,qemu', '--tiers', '0,1']).peers).toEqual(['nestbox', 'qemu', 'nestbox-t0', 'nestbox-t1'])
  })

  it('says what is wrong', () => {
    expect(() => parseOptions(['--only', 'nothing'])).toThrow(/no row 'nothing'; known: boot/)
    expect(() => parseOptions(['--peers', 'bochs'])).toThrow(/no peer 'bochs'/)
    expect(() => parseOptions(['--repeat', '0'])).toThrow('--repeat')
    expect(() => parseOptions(['--minutes', 'x'])).toThrow('--minutes')
    expect(() => parseOptions(['--width', '16'])).toThrow('--width')
    expect(() => parseOptions(['boots'])).toThrow(/no benchmark 'boots'/)
    expect(() => parseOptions(['--frobnicate'])).toThrow('--frobnicate')
  })
})

describe('what the host says', () => {
  it('finds the mapping of the guest\'s memory by its size', () => {
    const smaps = '55d0-55d1 r--p 0 fe:00 1 /x\nSize:  4 kB\nRss:  4 kB\n7f00-7f20 rw-p 0 00:00 0 \nSize:  2048 kB\nRss:  100 kB\nPss: 1 kB\n'
    expect(residentOfMapping(smaps, 2 << 20)).toBe(100 * 1024)
    expect(residentOfMapping(smaps, 3 << 20)).toBeUndefined()
  })

  it('knows when each piece of text came', () => {
    const text = new TimedText()
    text.add('STA', 1)
    text.add('RT loop\nEND', 5)
    text.add(' loop 7\n', 9)
    expect([3, 4, 14, 15, 22].map((end) => text.timeAt(end))).toEqual([1, 5, 5, 9, 9])
  })
})

/** The report as Markdown: every row, also those we lose. */
import { stripVTControlCharacters } from 'node:util'
import { meanRatio, ratio } from './statistics.mjs'

const MIB = 2 ** 20
const number = (value) => (value === undefined ? '–' : value >= 100 ? value.toFixed(0) : value.toFixed(2))
const line = (cells) => `| ${cells.join(' | ')} |`
const oneLine = (text) => stripVTControlCharacters(text).replace(/\s+/g, ' ').replaceAll('|', '\\|')

function seconds(cell) {
  if (!cell) return '–'
  // A failure in a later repetition: what was measured before is shown, but not compared.
  if (cell.error) return cell.median === undefined ? '**failed**' : `${number(cell.median)}, then **failed**`
  if (cell.median === undefined) return '–'
  return cell.samples.length > 1 ? `${number(cell.median)} (${number(cell.min)}–${number(cell.max)})` : number(cell.median)
}

/** Ratio columns: how long Nestbox takes of QEMU's time, how many times v86's time is Nestbox's. */
const RATIOS = [{ a: 'nestbox', b: 'qemu', title: 'Nestbox ÷ QEMU' }, { a: 'v86', b: 'nestbox', title: 'v86 ÷ Nestbox' }]
const ratiosOf = (peers) => RATIOS.filter(({ a, b }) => peers.includes(a) && peers.includes(b))

function meanCell({ mean, missing }) {
  if (mean === undefined) return '–'
  return missing.length > 0 ? `${number(mean)} (${missing.length} missing)` : number(mean)
}

/**
 * Boots and programs of one width: seconds, and the ratios, of the times and of the CPU times: on a computer that does other
 * things too the second is the steadier one.
 */
export function timesTable(rows, titles) {
  const peers = Object.keys(titles).filter((peer) => rows.some((row) => peer in row.peers))
  const ratios = ratiosOf(peers).flatMap(({ a, b, title }) => [{ a, b, of: 'median', title }, { a, b, of: 'cpu', title: `${title}, CPU time` }])
  const lines = [line(['seconds', ...peers.map((peer) => titles[peer]), ...ratios.map(({ title }) => title)]), line(['---', ...[...peers, ...ratios].map(() => '---:')])]
  for (const row of rows) {
    const title = row.differ ? `${row.title} **(results differ)**` : row.title
    lines.push(line([title, ...peers.map((peer) => seconds(row.peers[peer])), ...ratios.map(({ a, b, of }) => number(ratio(row, a, b, of)))]))
  }
  const programs = rows.filter((row) => row.kind === 'program')
  if (programs.length > 1) {
    const means = ratios.map(({ a, b, of }) => `**${meanCell(meanRatio(programs, a, b, of))}**`)
    lines.push(line(['**geometric mean of the guest programs**', ...peers.map(() => ''), ...means]))
  }
  return lines.join('\n')
}

function idleShare(cell) {
  const share = cell.median === undefined ? undefined : number(cell.median * 100)
  if (!cell.error) return share ?? '–'
  return share === undefined ? '**failed**' : `${share}, then **failed**`
}

/** Idle CPU and memory. */
export function idleTable(rows, titles) {
  const mib = (bytes) => (bytes === undefined ? '–' : (bytes / MIB).toFixed(0))
  const lines = [line(['idle guest', 'peer', 'CPU, % of a core', 'resident, MiB', 'touched by the guest, MiB', 'difference, MiB']), line(['---', '---', '---:', '---:', '---:', '---:'])]
  for (const row of rows) {
    for (const [peer, cell] of Object.entries(row.peers)) {
      if (!(peer in titles)) continue
      const { residentBytes, guestBytes } = cell.details?.at(-1) ?? {}
      const over = residentBytes === undefined || guestBytes === undefined ? undefined : residentBytes - guestBytes
      lines.push(line([row.title, titles[peer], idleShare(cell), mib(residentBytes), mib(guestBytes), mib(over)]))
    }
  }
  return lines.join('\n')
}

/** What Nestbox's CPU engine did during the boots. */
export function engineTable(rows) {
  const lines = [line(['Nestbox', 'guest instructions', 'millions per second of running', 'time in tier 0 / 1 / 2 / host, %']), line(['---', '---:', '---:', '---:'])]
  for (const row of rows) {
    const figures = row.peers.nestbox?.details?.at(-1)
    if (!figures?.tierShare) continue
    const { t0 = 0, t1 = 0, t2 = 0, host = 0 } = figures.tierShare
    // An engine that does not tell its tiers apart books everything to the lowest.
    const share = t1 + t2 > 0 ? [t0, t1, t2, host].map((part) => (part * 100).toFixed(0)).join(' / ') : '–'
    lines.push(line([row.title, `${(figures.instructions / 1e6).toFixed(0)} M`, figures.mips.toFixed(0), share]))
  }
  return lines.length > 2 ? lines.join('\n') : ''
}

/** Failures, differing results, complaints of guest kernels. */
function notes({ rows, remarks }, titles) {
  const failed = rows.flatMap((row) => Object.entries(row.peers).filter(([peer, cell]) => cell.error && peer in titles).map(([peer, cell]) => `${titles[peer]}, ${row.name}: ${oneLine(cell.error).slice(0, 240)}`))
  const differing = rows.filter((row) => row.differ).map((row) => `results differ in ${row.name}: ${oneLine(row.differ)}`)
  return [...failed, ...differing, ...remarks.map(oneLine)].map((text) => `- ${text}`).join('\n')
}

/**
 * @param report {when, cpu, cores, versions, repeat, load, titles, rows, remarks}
 * @returns the whole report as Markdown
 */
export function renderReport(report) {
  const { rows, titles } = report
  const parts = [
    `Measured ${report.when.slice(0, 16).replace('T', ' ')} UTC on ${report.cores} cores (${report.cpu}), Node ${report.versions.node}, ${report.versions.qemu}, ` +
    `v86 ${report.versions.v86}, Nestbox ${report.versions.nestbox}; medians of ${report.repeat}, least and most in brackets. ` +
    `Load average when it began and ended: ${report.load.map((n) => n.toFixed(1)).join(', ')}.`,
  ]
  for (const width of [64, 32]) {
    const times = rows.filter((row) => row.width === width && row.kind !== 'idle')
    if (times.length > 0) parts.push(`### ${width} bits`, timesTable(times, titles))
  }
  const idle = rows.filter((row) => row.kind === 'idle')
  if (idle.length > 0) parts.push('### Idle', idleTable(idle, titles))
  const engine = engineTable(rows)
  if (engine) parts.push('### Inside', engine)
  const more = notes(report, titles)
  if (more) parts.push('### Failures and remarks', more)
  return `${parts.join('\n\n')}\n`
}

/** The project's aims, judged by the medians of one run. */
import { meanRatio, ratio } from './statistics.mjs'

const MIB = 2 ** 20
const IDLE_LIMIT = 0.02
const OVERHEAD_LIMIT_MIB = 120

function programAims(rows) {
  const of = (width) => rows.filter((row) => row.kind === 'program' && row.width === width)
  const [wide, narrow] = [meanRatio(of(64), 'nestbox', 'qemu'), meanRatio(of(32), 'v86', 'nestbox')]
  const worst = rows.filter((row) => row.kind === 'program').map((row) => ({ name: row.name, value: ratio(row, 'nestbox', 'qemu') })).filter(({ value }) => value !== undefined)
    .sort((a, b) => b.value - a.value)[0]
  return [
    { aim: 'guest programs, 64 bits: geometric mean of Nestbox ÷ QEMU at most 1', value: wide.mean, met: wide.missing.length === 0 && wide.mean <= 1 },
    { aim: 'guest programs, 32 bits: geometric mean of v86 ÷ Nestbox at least 2.5', value: narrow.mean, met: narrow.missing.length === 0 && narrow.mean >= 2.5 },
    { aim: `no program above 2 × QEMU${worst ? ` (worst: ${worst.name})` : ''}`, value: worst?.value, met: worst?.value <= 2 },
  ]
}

function bootAims(rows) {
  const of = (name, a, b) => {
    const row = rows.find((r) => r.name === name)
    return row && ratio(row, a, b)
  }
  const at = (aim, value, met) => ({ aim, value, met: value !== undefined && met(value) })
  return [
    at('amd64 cloud kernel, cold: at most 1.3 × QEMU', of('boot-amd64-cloud-cold', 'nestbox', 'qemu'), (v) => v <= 1.3),
    at('amd64 cloud kernel, warm: below QEMU', of('boot-amd64-cloud-warm', 'nestbox', 'qemu'), (v) => v < 1),
    at('amd64 cloud kernel on tier 0 alone, cold: at most 5 × QEMU', of('boot-amd64-cloud-tier0', 'nestbox', 'qemu'), (v) => v <= 5),
    at('686 kernel, cold: v86 ÷ Nestbox at least 3', of('boot-i386-cold', 'v86', 'nestbox'), (v) => v >= 3),
    at('Debian 12 with systemd to login: at most 1.3 × QEMU', of('debian-cold', 'nestbox', 'qemu'), (v) => v <= 1.3),
  ]
}

function idleAims(rows) {
  const cell = rows.find((row) => row.name === 'idle-debian')?.peers.nestbox
  const { residentBytes, guestBytes } = cell?.details?.at(-1) ?? {}
  const over = residentBytes === undefined || guestBytes === undefined ? undefined : (residentBytes - guestBytes) / MIB
  return [
    { aim: 'idle Debian: below 2 % of a core', value: cell?.median === undefined ? undefined : cell.median * 100, met: !cell?.error && cell?.median < IDLE_LIMIT },
    { aim: `idle Debian: resident below what the guest touched + ${OVERHEAD_LIMIT_MIB} MiB (difference, MiB)`, value: over, met: !cell?.error && over < OVERHEAD_LIMIT_MIB },
  ]
}

/** @returns {aim, value?, met}[]: aims that this run measured */
export function judge(rows) {
  return [...programAims(rows), ...bootAims(rows), ...idleAims(rows)].filter(({ value }) => value !== undefined)
}

export function targetsTable(aims) {
  return ['| aim | measured | met |', '|---|---:|---|', ...aims.map(({ aim, value, met }) => `| ${aim} | ${value.toFixed(2)} | ${met ? 'yes' : '**no**'} |`)].join('\n')
}

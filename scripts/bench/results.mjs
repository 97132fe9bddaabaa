/** Collects what the runs gave, by row and peer. */
import { disagreement, median, summarize } from './statistics.mjs'

export class Results {
  #rows = new Map()
  remarks = []

  /** @param row {name, title, kind: 'boot' | 'program' | 'debian' | 'idle', width} */
  declare(row, peers) {
    this.#rows.set(row.name, { ...row, cells: Object.fromEntries(peers.map((peer) => [peer, { samples: [], cpu: [], results: [], details: [] }])) })
  }

  #cell(name, peer) {
    return this.#rows.get(name).cells[peer]
  }

  add(name, peer, seconds, { cpu, result, detail } = {}) {
    const cell = this.#cell(name, peer)
    cell.samples.push(seconds)
    if (cpu !== undefined) cell.cpu.push(cpu)
    if (result !== undefined) cell.results.push(result)
    if (detail !== undefined) cell.details.push(detail)
  }

  fail(name, peer, message) {
    this.#cell(name, peer).error ??= message
  }

  remark(text) {
    if (!this.remarks.includes(text)) this.remarks.push(text)
  }

  /** A peer that failed in a row is not asked again: a hang costs its whole limit. */
  hasFailed(name, peer) {
    return this.#cell(name, peer).error !== undefined
  }

  /** @returns rows as they are saved: `peers` has of each peer median, min, max, samples, cpu (median CPU seconds), details and error */
  rows() {
    return [...this.#rows.values()].map(({ cells, ...row }) => {
      const differ = disagreement(Object.fromEntries(Object.entries(cells).map(([peer, cell]) => [peer, cell.results])))
      const peers = Object.fromEntries(Object.entries(cells).map(([peer, { samples, cpu, details, error, results }]) => [peer, {
        ...summarize(samples), ...(cpu.length > 0 ? { cpu: median(cpu) } : {}), ...(details.length > 0 ? { details } : {}), ...(results.length > 0 ? { result: results[0] } : {}), ...(error ? { error } : {}),
      }]))
      return { ...row, peers, ...(differ ? { differ } : {}) }
    })
  }
}

/**
 * The interpreter alone beside QEMU: a row made of two cells of the guest's cold boot, with Nestbox's column for tier 0. The cell
 * of tier 0 is no column of that boot unless `--tiers 0` makes it one.
 */
export function withTier0Row(rows, { guest, peer }) {
  return rows.flatMap((row) => {
    const { [peer]: tier0, qemu } = row.peers
    if (row.name !== `boot-${guest}-cold` || !tier0) return [row]
    return [row, { ...row, name: `boot-${guest}-tier0`, title: `${row.title} on tier 0 alone`, peers: { nestbox: tier0, ...(qemu ? { qemu } : {}) } }]
  })
}

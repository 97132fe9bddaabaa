/** Collects what the runs gave, by row and peer. */
import { disagreement, summarize } from './statistics.mjs'

export class Results {
  #rows = new Map()
  remarks = []

  /** @param row {name, title, kind: 'boot' | 'program' | 'debian' | 'idle', width} */
  declare(row, peers) {
    this.#rows.set(row.name, { ...row, cells: Object.fromEntries(peers.map((peer) => [peer, { samples: [], results: [], details: [] }])) })
  }

  #cell(name, peer) {
    return this.#rows.get(name).cells[peer]
  }

  add(name, peer, seconds, { result, detail } = {}) {
    const cell = this.#cell(name, peer)
    cell.samples.push(seconds)
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

  /** @returns rows as they are saved: `peers` has median, min, max, samples, details and error of each peer */
  rows() {
    return [...this.#rows.values()].map(({ cells, ...row }) => {
      const differ = disagreement(Object.fromEntries(Object.entries(cells).map(([peer, cell]) => [peer, cell.results])))
      const peers = Object.fromEntries(Object.entries(cells).map(([peer, { samples, details, error, results }]) => [peer, {
        ...summarize(samples), ...(details.length > 0 ? { details } : {}), ...(results.length > 0 ? { result: results[0] } : {}), ...(error ? { error } : {}),
      }]))
      return { ...row, peers, ...(differ ? { differ } : {}) }
    })
  }
}

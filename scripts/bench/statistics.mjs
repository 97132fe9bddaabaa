/** Figures of repeated measurements, and how peers compare. */

/** Middle of the numbers; of an even count the mean of the two in the middle. Undefined for none. */
export function median(numbers) {
  if (numbers.length === 0) return undefined
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Geometric mean of positive numbers, undefined for none. */
export function geometricMean(numbers) {
  if (numbers.length === 0) return undefined
  return Math.exp(numbers.reduce((sum, n) => sum + Math.log(n), 0) / numbers.length)
}

/** @returns median, min and max with the samples themselves, undefined where nothing was measured */
export function summarize(samples) {
  if (samples.length === 0) return undefined
  return { median: median(samples), min: Math.min(...samples), max: Math.max(...samples), samples }
}

/** Median of `a` over median of `b` in one row, of times or of CPU times; undefined where either was not measured or failed. */
export function ratio(row, a, b, of = 'median') {
  const [x, y] = [row.peers[a], row.peers[b]]
  if (!x || !y || x.error || y.error || !(x[of] > 0) || !(y[of] > 0)) return undefined
  return x[of] / y[of]
}

/**
 * Geometric mean of `a` over `b` over the rows both have. `missing` names the rows one of them should have and has not:
 * a mean that leaves out failures is no result.
 */
export function meanRatio(rows, a, b, of = 'median') {
  const ratios = rows.map((row) => ratio(row, a, b, of))
  const missing = rows.filter((row, i) => ratios[i] === undefined && a in row.peers && b in row.peers).map((row) => row.name)
  return { mean: geometricMean(ratios.filter((r) => r !== undefined)), missing }
}

/**
 * Peers must compute the same. @param results peer -> the results its runs printed
 * @returns undefined where all agree, else a text naming who said what
 */
export function disagreement(results) {
  const entries = Object.entries(results).filter(([, said]) => said.length > 0)
  const all = new Set(entries.flatMap(([, said]) => said))
  if (all.size <= 1) return undefined
  return entries.map(([peer, said]) => `${peer}: ${[...new Set(said)].join(', ')}`).join('; ')
}

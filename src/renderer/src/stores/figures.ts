/** The newest figures of each running machine, as series for the charts. Kept in memory only. */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import { append, sampleBetween, type FigureCounters, type FigureSample } from './figure-series'

export interface Readings {
  readonly now: FigureCounters
  readonly before: FigureCounters
}

export const useFiguresStore = defineStore('figures', () => {
  const series = shallowRef<ReadonlyMap<string, readonly FigureSample[]>>(new Map())
  const last = new Map<string, FigureCounters>()
  const readings = shallowRef<ReadonlyMap<string, Readings>>(new Map())
  /** The two newest readings of a machine. */
  const readingsOf = (id: string): Readings | undefined => readings.value.get(id)

  const of = (id: string): readonly FigureSample[] => series.value.get(id) ?? []
  const latest = (id: string): FigureSample | undefined => of(id).at(-1)

  function add(id: string, counters: FigureCounters): void {
    const before = last.get(id)
    const sample = before && sampleBetween(before, counters)
    if (before && !sample) return
    last.set(id, counters)
    if (before) readings.value = new Map(readings.value).set(id, { now: counters, before })
    if (sample) series.value = new Map(series.value).set(id, append(of(id), sample))
  }

  /** Forgets a machine's series: it stopped, the next start begins anew. */
  function forget(id: string): void {
    last.delete(id)
    if (readings.value.has(id)) readings.value = new Map([...readings.value].filter(([other]) => other !== id))
    if (!series.value.has(id)) return
    const next = new Map(series.value)
    next.delete(id)
    series.value = next
  }

  const follow = (): Stop => useApi().onFigures(add)

  return { series, of, latest, readingsOf, add, forget, follow }
})

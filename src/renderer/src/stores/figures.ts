/** The newest figures of each running machine, as series for the charts. Kept in memory only. */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import { append, sampleBetween, type FigureCounters, type FigureSample } from './figure-series'

export const useFiguresStore = defineStore('figures', () => {
  const series = shallowRef<ReadonlyMap<string, readonly FigureSample[]>>(new Map())
  const last = new Map<string, FigureCounters>()

  const of = (id: string): readonly FigureSample[] => series.value.get(id) ?? []
  const latest = (id: string): FigureSample | undefined => of(id).at(-1)

  function add(id: string, counters: FigureCounters): void {
    const before = last.get(id)
    const sample = before && sampleBetween(before, counters)
    if (before && !sample) return
    last.set(id, counters)
    if (sample) series.value = new Map(series.value).set(id, append(of(id), sample))
  }

  /** Forgets a machine's series: it stopped, the next start begins anew. */
  function forget(id: string): void {
    last.delete(id)
    if (!series.value.has(id)) return
    const next = new Map(series.value)
    next.delete(id)
    series.value = next
  }

  const follow = (): Stop => useApi().onFigures(add)

  return { series, of, latest, add, forget, follow }
})

/** Snapshots of the machines that are looked at: loaded on demand, kept up to date while a view holds them. */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import type { SnapshotTree } from '../api/types'

export const useSnapshotsStore = defineStore('snapshots', () => {
  const trees = shallowRef<ReadonlyMap<string, SnapshotTree>>(new Map())
  const rounds = new Map<string, number>()

  const of = (id: string): SnapshotTree | undefined => trees.value.get(id)

  async function load(id: string): Promise<void> {
    // Several changes in a row: an answer that was overtaken must not win.
    const round = (rounds.get(id) ?? 0) + 1
    rounds.set(id, round)
    const tree = await useApi().snapshots(id)
    if (rounds.get(id) === round) trees.value = new Map(trees.value).set(id, tree)
  }

  /** Loads this machine's snapshots again whenever they change. @param onError a later load failed */
  function follow(id: string, onError: (error: unknown) => void): Stop {
    return useApi().onSnapshots((changed) => {
      if (changed === id) load(id).catch(onError)
    })
  }

  return { of, load, follow }
})

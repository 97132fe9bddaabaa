/** Deleted machines that can come back. */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import type { Machine, TrashItem } from '../api/types'

export const useTrashStore = defineStore('trash', () => {
  /** Newest first. */
  const items = shallowRef<readonly TrashItem[]>([])

  async function load(): Promise<void> {
    const found = await useApi().trash()
    items.value = [...found].sort((a, b) => b.deletedAt.localeCompare(a.deletedAt))
  }

  async function restore(id: string): Promise<Machine> {
    const machine = await useApi().restore(id)
    await load()
    return machine
  }

  async function purge(id: string): Promise<void> {
    await useApi().purge(id)
    await load()
  }

  const follow = (): Stop => useApi().onTrash(() => void load())

  return { items, load, restore, purge, follow }
})

/** What the manager is doing: downloads, image builds, copies. */
import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import type { Stop } from '../api/api'
import { useApi } from '../api/current'
import type { Task } from '../api/types'

const KEPT_FINISHED = 30

export const isOpenTask = (task: Task): boolean => task.state === 'running' || task.state === 'queued'

export const useTasksStore = defineStore('tasks', () => {
  /** Newest first. */
  const all = shallowRef<readonly Task[]>([])
  const open = computed(() => all.value.filter(isOpenTask))

  function put(task: Task): void {
    const isKnown = all.value.some((other) => other.id === task.id)
    const next = isKnown ? all.value.map((other) => (other.id === task.id ? task : other)) : [task, ...all.value]
    let finished = 0
    all.value = next.filter((other) => isOpenTask(other) || ++finished <= KEPT_FINISHED)
  }

  function clearFinished(): void {
    all.value = all.value.filter(isOpenTask)
  }

  async function load(): Promise<void> {
    const tasks = await useApi().tasks()
    all.value = [...tasks].reverse()
  }

  const cancel = (id: string): Promise<void> => useApi().cancelTask(id)
  const follow = (): Stop => useApi().onTask(put)

  return { all, open, put, clearFinished, load, cancel, follow }
})

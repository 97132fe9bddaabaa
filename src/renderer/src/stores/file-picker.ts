/** Choosing a file of the manager's computer: by the desktop's own dialog where there is one, else by ours. */
import type { PickRequest } from '@contract/index'
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import { useApi } from '../api/current'

export const useFilePickerStore = defineStore('filePicker', () => {
  /** What our own dialog is asked for now. */
  const request = shallowRef<PickRequest>()
  let answer: ((path: string | undefined) => void) | undefined

  /** @returns undefined where none was chosen */
  async function pick(wanted: PickRequest): Promise<string | undefined> {
    const native = await useApi().pickFile(wanted)
    if (native !== undefined) return native ?? undefined
    close()
    return new Promise((resolve) => {
      answer = resolve
      request.value = wanted
    })
  }

  /** The dialog goes away after its animation; who asked need not wait for that. */
  function choose(path: string): void {
    answer?.(path)
    answer = undefined
  }

  function close(): void {
    request.value = undefined
    answer?.(undefined)
    answer = undefined
  }

  return { request, pick, choose, close }
})

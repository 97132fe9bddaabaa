/** Shows how far a piece of work is, on a terminal only; Ctrl-C cancels it. */
import { inEnglish, type Task } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'

/** One line that is written over. */
export function showProgress(task: Task): void {
  if (!process.stderr.isTTY) return
  const percent = task.progress === undefined ? '' : ` ${Math.round(task.progress * 100)} %`
  process.stderr.write(`\r\x1b[K${task.subject}:${percent} ${inEnglish(task.detail ?? '')}`)
}

export function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

/** Makes a call whose work is a task of this kind. */
export async function withProgress<T>(client: LocalClient, kind: string, json: boolean | undefined, call: () => Promise<T>): Promise<T> {
  let taskId: string | undefined
  const before = new Set((await client.call('task.list', {})).map(({ id }) => id))
  const stop = client.subscribe('task.changed', (task) => {
    if (task.kind !== kind || before.has(task.id)) return
    taskId ??= task.id
    if (task.id === taskId && task.state === 'running' && !json) showProgress(task)
  })
  const cancel = (): void => {
    if (taskId !== undefined) void client.request('task.cancel', { id: taskId })
  }
  process.on('SIGINT', cancel)
  try {
    return await call()
  } finally {
    process.off('SIGINT', cancel)
    stop()
    if (!json) clearProgress()
  }
}

/** What a task does, in the language of the interface. */
import { useI18n } from 'vue-i18n'
import type { Task } from '../api/types'

export function useTaskTitle(): (task: Pick<Task, 'kind' | 'subject'>) => string {
  const { t, te } = useI18n()
  // Kinds are dotted (`image.download`); keys of messages are not.
  return ({ kind, subject }) => {
    const key = `task.${kind.replace(/\.(\w)/g, (_match, letter: string) => letter.toUpperCase())}`
    return te(key) ? t(key, { subject }) : subject || kind
  }
}

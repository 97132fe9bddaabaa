import { describe, expect, it } from 'vitest'
import { task as taskSchema, type Task } from '../../../preload/contract'
import { ServiceError } from '../errors'
import { Tasks } from '.'

const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

describe('tasks', () => {
  it('tell how they go, a few times a second only, and never after their end', async () => {
    const tasks = new Tasks()
    const told: Task[] = []
    tasks.onDidChange((task) => told.push(taskSchema.parse(task)))
    const { result } = tasks.start('image.download', 'Test', async ({ report }) => {
      for (let i = 0; i <= 1000; i++) report(i / 1000, `step ${i}`)
      return 'made'
    })
    expect(await result).toBe('made')
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(told.length).toBeLessThan(5)
    expect(told[0]).toMatchObject({ state: 'running', cancellable: true, subject: 'Test' })
    expect(told.at(-1)).toMatchObject({ state: 'done', progress: 1, detail: 'step 1000', cancellable: false })
  })

  it('carry the error of what failed', async () => {
    const tasks = new Tasks()
    const { result } = tasks.start('x', 'y', () => Promise.reject(new ServiceError('disk-full', 'no room')))
    await expect(result).rejects.toThrow('no room')
    expect(tasks.list()).toMatchObject([{ state: 'failed', error: { code: 'disk-full', message: 'no room' } }])
  })

  it('end as cancelled when they are, whatever the work throws then', async () => {
    const tasks = new Tasks()
    const { task, result } = tasks.start('x', 'y', ({ signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('torn')))))
    tasks.cancel(task.id)
    await expect(result).rejects.toMatchObject({ code: 'cancelled' })
    expect(tasks.list()[0].state).toBe('cancelled')
    expect(() => tasks.cancel('nonsense')).toThrow('no task')
  })

  it('are forgotten when many have ended, running ones never', async () => {
    const tasks = new Tasks()
    let end: () => void = () => undefined
    const running = tasks.start('slow', 'slow', () => new Promise<void>((resolve) => { end = resolve }))
    for (let i = 0; i < 60; i++) await tasks.start('quick', String(i), () => Promise.resolve()).result
    await nextTurn()
    expect(tasks.list()).toHaveLength(51)
    expect(tasks.list()[0].id).toBe(running.task.id)
    expect(tasks.list().at(-1)?.subject).toBe('59')
    end()
    await running.result
  })
})

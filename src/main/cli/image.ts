/** `nestbox image …`: what machines can be made from. */
import type { Command } from 'commander'
import { inEnglish, type Task } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ServiceError } from '../services/errors'
import { withManager } from './connect'
import { printJson, printTable, say } from './output'
import { clearProgress, showProgress } from './progress'

interface Json { readonly json?: boolean }

/** Resolves when the work is over. @throws ServiceError with the task's error; Ctrl-C cancels the work */
async function follow(client: LocalClient, started: Task, json: boolean): Promise<Task> {
  const cancel = (): void => void client.request('task.cancel', { id: started.id })
  process.on('SIGINT', cancel)
  try {
    return await new Promise<Task>((resolve, reject) => {
      const look = (task: Task): void => {
        if (task.id !== started.id) return
        if (!json) showProgress(task)
        if (task.state === 'done') resolve(task)
        else if (task.state === 'cancelled') reject(new ServiceError('cancelled', `${task.subject}: cancelled.`))
        else if (task.state === 'failed') reject(ServiceError.fromWire(task.error ?? { code: 'internal', message: 'The work failed.' }))
      }
      client.subscribe('task.changed', look)
      void client.closed.then(() => reject(new ServiceError('disconnected', 'The manager is gone: the connection was lost.')))
      look(started)
      // It may have ended before the subscription.
      client.call('task.list', {}).then((tasks) => tasks.forEach(look), reject)
    })
  } finally {
    process.off('SIGINT', cancel)
    if (!json) clearProgress()
  }
}

/** Builds or fetches the image where it is not ready. */
export async function prepareImage(client: LocalClient, id: string, json: boolean): Promise<void> {
  const image = (await client.call('image.list', {})).find((candidate) => candidate.id === id)
  if (!image) throw new ServiceError('not-found', `There is no image '${id}'. 'nestbox image list' shows them.`, { id })
  if (!image.ready) await follow(client, await client.call('image.prepare', { id }), json)
}

async function list({ json }: Json): Promise<void> {
  const images = await withManager((client) => client.call('image.list', {}))
  if (json) return printJson(images)
  const state = (image: typeof images[number]): string => (image.ready ? 'ready' : inEnglish(image.unavailable ?? 'available'))
  printTable(['ID', 'NAME', 'STATE', 'BYTES'], images.map((image) => [image.id, image.name, state(image), String(image.sizeBytes ?? '-')]))
}

async function prepare(id: string, { json }: Json): Promise<void> {
  const image = await withManager(async (client) => {
    await prepareImage(client, id, json ?? false)
    return (await client.call('image.list', {})).find((candidate) => candidate.id === id)
  })
  if (json) printJson(image)
  else say(false, `${image?.name ?? id} is ready.`)
}

export function addImageCommands(program: Command): void {
  const image = program.command('image').description('images machines can be made from')
  image.command('list').description('all images').option('--json', 'print JSON').action(list)
  image.command('prepare <id>').alias('download').description('build or fetch an image').option('--json', 'print JSON').action(prepare)
}

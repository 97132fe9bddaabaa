/** The images machines can be made from: the starter, built here, and the catalogue, fetched. */
import { copyFile, constants } from 'node:fs/promises'
import { join } from 'node:path'
import { STARTER_IMAGE, phrase, type Image, type Task } from '../../preload/contract'
import { Catalog } from './catalog'
import { ServiceError, writeError } from './errors'
import { makeFolder } from './files'
import { Starter } from './starter'
import type { StartedTask, Tasks } from './tasks'
import type { Progress } from './types'

/** Files a machine boots from. */
export interface BootFiles {
  readonly kernel: string
  readonly initrd: string
  readonly commandLine: string
  /** The machine gets a disk to keep its files on. */
  readonly hasDataDisk?: boolean
}

/** One image as the manager uses it. */
export interface ImageSource {
  list(): Promise<Image[]>
  has(id: string): boolean
  /** Resolves at once where the image is there already. @throws ServiceError image-unavailable, download-failed, checksum-mismatch, … */
  prepare(id: string, progress: Progress): Promise<BootFiles>
}

export class Images {
  private readonly sources: readonly ImageSource[]
  /** One preparation per image, however many ask for it. */
  private readonly preparing = new Map<string, StartedTask<BootFiles>>()

  constructor(home: string, private readonly tasks: Tasks, sources?: readonly ImageSource[]) {
    const dir = join(home, 'images')
    this.sources = sources ?? [new Starter(join(dir, STARTER_IMAGE)), new Catalog(dir)]
  }

  async list(): Promise<Image[]> {
    return (await Promise.all(this.sources.map((source) => source.list()))).flat()
  }

  /** Starts building or fetching, or joins who does it already. @throws ServiceError not-found, image-unavailable */
  async prepare(id: string): Promise<StartedTask<BootFiles>> {
    const source = this.sources.find((candidate) => candidate.has(id))
    const image = (await this.list()).find((candidate) => candidate.id === id)
    if (!source || !image) throw new ServiceError('not-found', phrase('image.none', { id }), { id })
    if (image.unavailable) throw new ServiceError('image-unavailable', phrase('image.unavailable', { name: image.name, why: image.unavailable }), { id })
    const existing = this.preparing.get(id)
    if (existing) return existing
    const kind = id === STARTER_IMAGE ? 'image.starter' : 'image.download'
    const started = this.tasks.start(kind, image.name, (progress) => source.prepare(id, progress))
    this.preparing.set(id, started)
    const done = (): void => void this.preparing.delete(id)
    started.result.then(done, done)
    return started
  }

  taskOf({ task }: StartedTask<BootFiles>): Task {
    return this.tasks.list().find((candidate) => candidate.id === task.id) ?? task
  }
}

/** Gives a machine its own copy, so that the image can be renewed or removed. Shares the blocks where the file system can. */
export async function copyBootFiles(files: BootFiles, dir: string, finalDir: string): Promise<BootFiles> {
  await makeFolder(join(dir, 'boot'))
  const copy = async (from: string, name: string): Promise<string> => {
    if (from === '') return ''
    const to = join(dir, 'boot', name)
    await copyFile(from, to, constants.COPYFILE_FICLONE).catch((error: unknown) => {
      throw writeError(error, to)
    })
    return join(finalDir, 'boot', name)
  }
  return { ...files, kernel: await copy(files.kernel, 'kernel'), initrd: await copy(files.initrd, 'initrd') }
}

/** The starter image: a Linux kernel and busybox, built once on this computer and kept. */
import { readFile, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { phrase, STARTER_IMAGE, type Image } from '../../../preload/contract'
import { folderSize, makeFolder, moveDurably, writeAtomic } from '../files'
import type { BootFiles, ImageSource } from '../images'
import { findProgram } from '../programs'
import type { Progress } from '../types'
import { buildStarter } from './build'
import { COMMAND_LINE, RECIPE } from './recipe'

const infoFile = z.object({ recipe: z.string(), kernelPackage: z.string() })

export class Starter implements ImageSource {
  /** @param dir where the finished image is kept */
  constructor(private readonly dir: string) {}

  has(id: string): boolean {
    return id === STARTER_IMAGE
  }

  private async info(): Promise<z.infer<typeof infoFile> | undefined> {
    try {
      const info = infoFile.parse(JSON.parse(await readFile(join(this.dir, 'info.json'), 'utf8')))
      const { kernel, initrd } = this.files()
      await Promise.all([stat(kernel), stat(initrd)])
      return info.recipe === RECIPE ? info : undefined
    } catch {
      return undefined
    }
  }

  private files(): BootFiles {
    return { kernel: join(this.dir, 'vmlinuz'), initrd: join(this.dir, 'initrd.gz'), commandLine: COMMAND_LINE, hasDataDisk: true }
  }

  async list(): Promise<Image[]> {
    const info = await this.info()
    const canBuild = info !== undefined || (await findProgram('apt-get') !== undefined && await findProgram('dpkg-deb') !== undefined)
    return [{
      id: STARTER_IMAGE,
      name: 'Starter Linux',
      description: info
        ? phrase('about.starterFrom', { name: info.kernelPackage })
        : phrase('about.starter'),
      ready: info !== undefined,
      ...(canBuild ? {} : { unavailable: phrase('image.needsApt') }),
      ...(info ? { sizeBytes: await folderSize(this.dir) } : {}),
    }]
  }

  async prepare(_id: string, progress: Progress): Promise<BootFiles> {
    if (await this.info()) return this.files()
    await makeFolder(dirname(this.dir))
    const work = `${this.dir}.work`
    const target = `${this.dir}.new`
    try {
      for (const dir of [work, target]) {
        await rm(dir, { recursive: true, force: true })
        await makeFolder(dir)
      }
      const built = await buildStarter(work, target, progress)
      await writeAtomic(join(target, 'info.json'), `${JSON.stringify({ recipe: RECIPE, ...built })}\n`)
      await rm(this.dir, { recursive: true, force: true })
      await moveDurably(target, this.dir)
    } finally {
      for (const dir of [work, target]) await rm(dir, { recursive: true, force: true }).catch(() => undefined)
    }
    return this.files()
  }
}

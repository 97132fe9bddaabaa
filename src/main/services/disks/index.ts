/** The disks of all machines with what they lie over, new disks, and copies in other formats. */
import { realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute } from 'node:path'
import { phrase, type Disk, type DiskCheck, type ImageFormat } from '../../../preload/contract'
import { createDisk, writeImage } from '../../host/disks/convert'
import { openDisk, type DiskFormat } from '../../host/disks/open'
import { hostSaid } from '../core-said'
import { ServiceError, systemCode, writeError } from '../errors'
import type { Library } from '../library'
import type { MachineRuntime } from '../runtime'
import type { Progress } from '../types'
import { diskError, optionsOf, readableTop, soundness } from './disk-work'
import { layersOf } from './layers'

export interface CreateDisk {
  readonly path: string
  readonly format: 'raw' | 'qcow2'
  readonly sizeBytes: number
}

export class Disks {
  constructor(private readonly library: Library, private readonly runtime: MachineRuntime) {}

  private usersOf(real: string, known: ReadonlyMap<string, string>): Disk['usedBy'] {
    return this.library.list().flatMap(({ id, settings }) => settings.disks.filter(({ path }) => (known.get(path) ?? path) === real)
      .map(({ readOnly }) => ({ machineId: id, name: settings.name, readOnly })))
  }

  /** What a machine knows an image as; undefined where no machine has it. */
  private formatOf(real: string, known: ReadonlyMap<string, string>): DiskFormat | undefined {
    return this.library.list().flatMap(({ settings }) => settings.disks).find(({ path }) => (known.get(path) ?? path) === real)?.format
  }

  private async realPaths(): Promise<Map<string, string>> {
    const paths = new Set(this.library.list().flatMap(({ settings }) => settings.disks.map(({ path }) => path)))
    return new Map(await Promise.all([...paths].map(async (path): Promise<[string, string]> => [path, await realpath(path).catch(() => path)])))
  }

  /** Each file once, in the order of the machines. */
  async list(): Promise<Disk[]> {
    const known = await this.realPaths()
    return Promise.all([...new Set(known.values())].map(async (path) => ({ path, layers: await layersOf(path, this.formatOf(path, known)), usedBy: this.usersOf(path, known) })))
  }

  /** @throws ServiceError file-missing, invalid-argument */
  async info(path: string): Promise<Disk> {
    if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('file.notFull', { path }), { path })
    const real = await realpath(path).catch(() => {
      throw new ServiceError('file-missing', phrase('file.none', { path }), { path })
    })
    const known = await this.realPaths()
    return { path: real, layers: await layersOf(real, this.formatOf(real, known)), usedBy: this.usersOf(real, known) }
  }

  /** @throws ServiceError name-taken, invalid-argument, disk-full, library-read-only */
  async create({ path, format, sizeBytes }: CreateDisk): Promise<Disk> {
    await this.requireFree(path)
    try {
      await createDisk(path, { format, sizeBytes })
    } catch (error) {
      if (error instanceof RangeError) throw new ServiceError('invalid-argument', error.message)
      throw systemCode(error) === 'EEXIST' ? taken(path) : writeError(error, path)
    }
    return this.info(path)
  }

  /**
   * A copy of what the guest sees, without layers below it. The new file appears when it is whole.
   * @throws ServiceError machine-busy, name-taken, file-missing, bad-disk, disk-full, library-read-only
   */
  async convert(path: string, target: string, format: ImageFormat, progress: Progress): Promise<Disk> {
    const found = await this.requireIdle(path)
    const { path: real } = found
    await this.requireFree(target)
    const source = await openDisk(real, true, readableTop(found).format).catch((error: unknown) => {
      throw new ServiceError('bad-disk', hostSaid(error), { path: real })
    })
    try {
      await writeImage(source, target, { ...optionsOf(progress), format })
    } catch (error) {
      if (error instanceof RangeError) throw new ServiceError('invalid-argument', error.message)
      throw error instanceof Error && error.name === 'AbortError' ? error : writeError(error, target)
    } finally {
      await source.close()
    }
    return this.info(target)
  }

  /** What it is, where nobody writes it. @throws ServiceError machine-busy where a machine that runs may write it */
  async requireIdle(path: string): Promise<Disk> {
    const found = await this.info(path)
    const busy = found.usedBy.find(({ machineId, readOnly }) => !readOnly && !['stopped', 'crashed', 'saved'].includes(this.runtime.status(machineId).state))
    if (busy) throw new ServiceError('machine-busy', phrase('disk.inUse', { path: found.path, name: busy.name }), { path: found.path })
    return found
  }

  /** @throws ServiceError machine-busy, unsupported, bad-disk, file-missing */
  async check(path: string, progress: Progress): Promise<DiskCheck> {
    const found = await this.requireIdle(path)
    const { path: real } = found
    if (readableTop(found).format !== 'qcow2') throw new ServiceError('unsupported', phrase('disk.checkQcow2', { path: real }), { path: real })
    try {
      return await soundness(real, progress)
    } catch (error) {
      throw diskError(error, real)
    }
  }

  private async requireFree(path: string): Promise<void> {
    if (!isAbsolute(path)) throw new ServiceError('invalid-argument', phrase('file.notFull', { path }), { path })
    if (await stat(path).catch(() => undefined)) throw taken(path)
    if (!await stat(dirname(path)).catch(() => undefined)) throw new ServiceError('file-missing', phrase('file.noFolder', { path: dirname(path) }), { path: dirname(path) })
  }
}

const taken = (path: string): ServiceError => new ServiceError('name-taken', phrase('file.there', { path }), { path })

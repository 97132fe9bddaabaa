/** The disks of all machines with what they lie over, new disks, and copies in other formats. */
import { open, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, isAbsolute, resolve } from 'node:path'
import type { Disk, DiskCheck, DiskLayer, ImageFormat } from '../../../preload/contract'
import { writeForeignImage } from '../../host/disks/formats/foreign'
import { writeRaw } from '../../host/disks/formats/common/write-raw'
import { diskFormatOf, openDisk, resizeDisk } from '../../host/disks/open'
import { checkQcow2 } from '../../host/disks/qcow2/check'
import { createQcow2, writeQcow2 } from '../../host/disks/qcow2/create'
import { DiskFile } from '../../host/disks/qcow2/disk-file'
import { readHeader } from '../../host/disks/qcow2/header'
import { changeSince, identityOf } from '../../host/disks/qcow2/identity'
import { messageOf, ServiceError, systemCode, writeError } from '../errors'
import type { Library } from '../library'
import type { MachineRuntime } from '../runtime'
import type { Progress } from '../types'

/** As many as can be opened (host/disks/open). */
const MAX_LAYERS = 64
const PART_SUFFIX = '.part'

interface Layer {
  readonly layer: DiskLayer
  /** Absolute path of what it lies over. */
  readonly below: string | undefined
}

/** Where the system does not count blocks (Windows), the file's length. */
async function storedBytes(path: string): Promise<number> {
  const { blocks, size } = await stat(path)
  return blocks === undefined ? size : blocks * 512
}

async function readQcow2(path: string): Promise<Pick<DiskLayer, 'sizeBytes' | 'problem'> & { below: string | undefined }> {
  const file = await DiskFile.open(path, true)
  try {
    const { sizeBytes, backing } = await readHeader(file)
    if (!backing) return { sizeBytes, below: undefined }
    const below = resolve(dirname(path), backing.path)
    const change = backing.identity && changeSince(backing.identity, await identityOf(below).catch(() => backing.identity as NonNullable<typeof backing.identity>))
    return { sizeBytes, below, ...(change && { problem: `${below} was changed since: ${change}.` }) }
  } finally {
    await file.close()
  }
}

async function readLayer(path: string): Promise<Layer> {
  try {
    const format = await diskFormatOf(path)
    const stored = await storedBytes(path)
    if (format === 'qcow2') {
      const { below, ...about } = await readQcow2(path)
      return { layer: { path, format, storedBytes: stored, ...about }, below }
    }
    const image = await openDisk(path, true, format)
    const { sizeBytes } = image
    await image.close()
    return { layer: { path, format, storedBytes: stored, sizeBytes }, below: undefined }
  } catch (error) {
    const problem = systemCode(error) === 'ENOENT' ? `${path} is missing.` : messageOf(error)
    return { layer: { path, problem }, below: undefined }
  }
}

/** From the image down to its base. Never fails: what is wrong stands in the layer. */
export async function layersOf(path: string): Promise<DiskLayer[]> {
  const layers: DiskLayer[] = []
  const seen = new Set<string>()
  for (let at: string | undefined = path; at !== undefined;) {
    const { layer, below }: Layer = await readLayer(at)
    layers.push(layer)
    seen.add(at)
    if (below !== undefined && (seen.has(below) || layers.length === MAX_LAYERS)) {
      layers[layers.length - 1] = { ...layer, problem: `${below} lies over itself.` }
      return layers
    }
    at = below
  }
  return layers
}

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

  private async realPaths(): Promise<Map<string, string>> {
    const paths = new Set(this.library.list().flatMap(({ settings }) => settings.disks.map(({ path }) => path)))
    return new Map(await Promise.all([...paths].map(async (path): Promise<[string, string]> => [path, await realpath(path).catch(() => path)])))
  }

  /** Each file once, in the order of the machines. */
  async list(): Promise<Disk[]> {
    const known = await this.realPaths()
    return Promise.all([...new Set(known.values())].map(async (path) => ({ path, layers: await layersOf(path), usedBy: this.usersOf(path, known) })))
  }

  /** @throws ServiceError file-missing, invalid-argument */
  async info(path: string): Promise<Disk> {
    if (!isAbsolute(path)) throw new ServiceError('invalid-argument', `${path} is not a full path.`, { path })
    const real = await realpath(path).catch(() => {
      throw new ServiceError('file-missing', `There is no file ${path}.`, { path })
    })
    return { path: real, layers: await layersOf(real), usedBy: this.usersOf(real, await this.realPaths()) }
  }

  /** @throws ServiceError name-taken, invalid-argument, disk-full, library-read-only */
  async create({ path, format, sizeBytes }: CreateDisk): Promise<Disk> {
    await this.requireFree(path)
    try {
      if (format === 'qcow2') await createQcow2(path, { sizeBytes })
      else {
        const file = await open(path, 'wx', 0o600)
        await file.truncate(sizeBytes).finally(() => file.close())
      }
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
    const { path: real } = await this.requireIdle(path)
    await this.requireFree(target)
    const source = await openDisk(real, true).catch((error: unknown) => {
      throw new ServiceError('bad-disk', messageOf(error), { path: real })
    })
    const part = target + PART_SUFFIX
    const options = { signal: progress.signal, onProgress: (done: number, total: number) => progress.report(done / total) }
    try {
      await rm(part, { force: true })
      if (format === 'raw') await writeRaw(source, part, options)
      else if (format === 'qcow2') await writeQcow2(source, part, options)
      else await writeForeignImage(source, part, format, options, target.split(/[\\/]/).pop())
      await rename(part, target)
    } catch (error) {
      await rm(part, { force: true }).catch(() => undefined)
      if (error instanceof RangeError) throw new ServiceError('invalid-argument', error.message)
      throw error instanceof Error && error.name === 'AbortError' ? error : writeError(error, target)
    } finally {
      await source.close()
    }
    return this.info(target)
  }

  /** @throws ServiceError machine-busy where a machine that runs may write it */
  private async requireIdle(path: string): Promise<Disk> {
    const found = await this.info(path)
    const busy = found.usedBy.find(({ machineId, readOnly }) => !readOnly && !['stopped', 'crashed', 'saved'].includes(this.runtime.status(machineId).state))
    if (busy) throw new ServiceError('machine-busy', `The disk ${found.path} is in use by the running machine '${busy.name}'.`, { path: found.path })
    return found
  }

  /** @throws ServiceError machine-busy, unsupported, bad-disk, file-missing */
  async check(path: string, progress: Progress): Promise<DiskCheck> {
    const { path: real, layers } = await this.requireIdle(path)
    if (layers[0].format !== 'qcow2') throw new ServiceError('unsupported', `${real}: only qcow2 images have something to check.`, { path: real })
    try {
      const { corruptions, leaks, clusterBytes, problems } = await checkQcow2(real, { signal: progress.signal, onProgress: (done, total) => progress.report(done / total) })
      return { corruptions, wastedBytes: leaks * clusterBytes, problems: [...problems] }
    } catch (error) {
      throw error instanceof Error && error.name === 'AbortError' ? error : new ServiceError('bad-disk', messageOf(error), { path: real })
    }
  }

  /** @throws ServiceError machine-busy, wrong-state, has-clones, invalid-argument, unsupported, bad-disk, file-missing */
  async grow(path: string, sizeBytes: number): Promise<Disk> {
    const { path: real, layers: [top], usedBy } = await this.requireIdle(path)
    const owners = usedBy.map(({ machineId }) => this.library.get(machineId))
    if (owners.some((owner) => owner?.isTemplate)) throw new ServiceError('wrong-state', `${real} belongs to a template, which does not change.`, { path: real })
    // A saved machine has the size in its memory.
    const saved = usedBy.find(({ machineId }) => this.runtime.status(machineId).state === 'saved')
    if (saved) throw new ServiceError('wrong-state', `'${saved.name}' is suspended and knows the disk as it is. Start it and switch it off first.`, { path: real })
    const over = (await this.list()).find(({ layers }) => layers.slice(1).some((layer) => layer.path === real))
    if (over) throw new ServiceError('has-clones', `${over.path} lies over ${real}.`, { path: over.path })
    if (!top.format || top.sizeBytes === undefined) throw new ServiceError('bad-disk', top.problem ?? `${real} cannot be read.`, { path: real })
    if (sizeBytes <= top.sizeBytes) throw new ServiceError('invalid-argument', `${real} has ${top.sizeBytes} bytes already.`, { path: real })
    try {
      await resizeDisk(real, sizeBytes, top.format)
    } catch (error) {
      if (error instanceof RangeError) throw new ServiceError('invalid-argument', error.message)
      if (top.format !== 'raw' && top.format !== 'qcow2') throw new ServiceError('unsupported', messageOf(error), { path: real })
      throw systemCode(error) ? writeError(error, real) : new ServiceError('bad-disk', messageOf(error), { path: real })
    }
    return this.info(real)
  }

  private async requireFree(path: string): Promise<void> {
    if (!isAbsolute(path)) throw new ServiceError('invalid-argument', `${path} is not a full path.`, { path })
    if (await stat(path).catch(() => undefined)) throw taken(path)
    if (!await stat(dirname(path)).catch(() => undefined)) throw new ServiceError('file-missing', `There is no folder ${dirname(path)}.`, { path: dirname(path) })
  }
}

const taken = (path: string): ServiceError => new ServiceError('name-taken', `There is already a file ${path}.`, { path })

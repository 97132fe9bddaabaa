/** What changes an image that is there: its size, its reference counts, what it lies over, the room it takes. */
import { dirname, relative, resolve } from 'node:path'
import { realpath } from 'node:fs/promises'
import { phrase, type Disk, type DiskCheck, type DiskCompacted, type DiskLayer } from '../../../preload/contract'
import { compactDisk } from '../../host/disks/compact'
import { diskFormatOf, resizeDisk } from '../../host/disks/open'
import { DiskFile } from '../../host/disks/qcow2/disk-file'
import { readHeader, type Backing } from '../../host/disks/qcow2/header'
import { changeSince, identityOf } from '../../host/disks/qcow2/identity'
import { rebaseQcow2 } from '../../host/disks/qcow2/rebase'
import { repairQcow2 } from '../../host/disks/qcow2/repair'
import { ServiceError } from '../errors'
import type { Library } from '../library'
import type { MachineRuntime } from '../runtime'
import type { Progress } from '../types'
import type { Disks } from '.'
import { diskError, optionsOf, readableTop, soundness } from './disk-work'
import { layersOf } from './layers'

/** QEMU's name of a format. */
const qemuName = (format: string): string => (format === 'vhd' ? 'vpc' : format)

export class DiskChanges {
  constructor(private readonly disks: Disks, private readonly library: Library, private readonly runtime: MachineRuntime) {}

  /** @throws ServiceError has-clones where a disk of a machine lies over the file */
  private async requireNothingOver(real: string): Promise<void> {
    const over = (await this.disks.list()).find(({ layers }) => layers.slice(1).some((layer) => layer.path === real))
    if (over) throw new ServiceError('has-clones', phrase('disk.liesOver', { above: over.path, path: real }), { path: over.path })
  }

  private async requireNoTemplate({ path, usedBy }: Disk): Promise<void> {
    const isOfTemplate = usedBy.some(({ machineId }) => this.library.get(machineId)?.isTemplate)
    if (isOfTemplate) throw new ServiceError('wrong-state', phrase('disk.ofTemplate', { path }), { path })
  }

  /** The image itself, where its file may become another one. @throws ServiceError machine-busy, wrong-state, has-clones, bad-disk, file-missing */
  private async requireChangeable(path: string): Promise<{ real: string; top: DiskLayer & Required<Pick<DiskLayer, 'format' | 'sizeBytes'>>; usedBy: Disk['usedBy'] }> {
    const found = await this.disks.requireIdle(path)
    const { path: real, usedBy } = found
    await this.requireNoTemplate(found)
    await this.requireNothingOver(real)
    return { real, top: readableTop(found), usedBy }
  }

  /**
   * @param shrink that it becomes smaller is meant @throws ServiceError as `requireChangeable`; unsupported, disk-full, library-read-only,
   *   invalid-argument with `{ lostBytes }` where something would be cut off; AbortError: the disk is as it was
   */
  async resize(path: string, sizeBytes: number, shrink: boolean, progress: Progress): Promise<Disk> {
    const { real, top, usedBy } = await this.requireChangeable(path)
    // A saved machine has the size in its memory.
    const saved = usedBy.find(({ machineId }) => this.runtime.status(machineId).state === 'saved')
    if (saved) throw new ServiceError('wrong-state', phrase('disk.knownBySuspended', { name: saved.name }), { path: real })
    if (sizeBytes === top.sizeBytes) throw new ServiceError('invalid-argument', phrase('disk.hasThatSize', { path: real, size: top.sizeBytes }), { path: real })
    const lostBytes = top.sizeBytes - sizeBytes
    if (lostBytes > 0 && !shrink) throw new ServiceError('invalid-argument', phrase('disk.wouldLose', { path: real, size: top.sizeBytes, lost: lostBytes }), { path: real, lostBytes })
    await resizeDisk(real, sizeBytes, top.format, optionsOf(progress)).catch((error: unknown) => {
      throw diskError(error, real)
    })
    return this.disks.info(real)
  }

  /** @throws ServiceError as `requireChangeable`; unsupported, disk-full, library-read-only; AbortError: the disk is as it was */
  async compact(path: string, progress: Progress): Promise<DiskCompacted> {
    const { real, top } = await this.requireChangeable(path)
    return compactDisk(real, top.format, optionsOf(progress)).catch((error: unknown) => {
      throw diskError(error, real)
    })
  }

  /** @returns what a check finds afterwards @throws ServiceError machine-busy, wrong-state, unsupported, bad-disk, file-missing; AbortError */
  async repair(path: string, progress: Progress): Promise<DiskCheck> {
    const found = await this.disks.requireIdle(path)
    const { path: real } = found
    await this.requireNoTemplate(found)
    await this.requireNothingOver(real)
    if (readableTop(found).format !== 'qcow2') throw new ServiceError('unsupported', phrase('disk.repairQcow2', { path: real }), { path: real })
    try {
      await repairQcow2(real, optionsOf(progress))
      return await soundness(real, progress)
    } catch (error) {
      throw diskError(error, real)
    }
  }

  /** @throws ServiceError machine-busy where a machine runs on a disk with this layer */
  private async requireAllIdle(layer: string): Promise<void> {
    for (const { path, layers } of await this.disks.list()) if (layers.some((other) => other.path === layer)) await this.disks.requireIdle(path)
  }

  /**
   * @param backing full path; undefined: the file it has, as that is now
   * @throws ServiceError machine-busy, invalid-argument, unsupported, file-missing, bad-disk with `{ change }` where the file is another one
   */
  async rebase(path: string, backing: string | undefined, acceptChange: boolean): Promise<Disk> {
    const { path: real, layers: [{ format }] } = await this.disks.requireIdle(path)
    await this.requireAllIdle(real)
    if (format !== 'qcow2') throw new ServiceError('unsupported', phrase('disk.overQcow2', { path: real }), { path: real })
    const known = await backingOf(real)
    if (!known) throw new ServiceError('invalid-argument', phrase('disk.overNothing', { path: real }), { path: real })
    const file = backing ?? resolve(dirname(real), known.path)
    if ((await layersOf(await realpath(file).catch(() => file))).some((layer) => layer.path === real)) {
      throw new ServiceError('invalid-argument', phrase('disk.overItself', { file, path: real }), { path: file })
    }
    await requireSame(file, known, acceptChange)
    const name = relative(dirname(real), file)
    try {
      // What a guest wrote into a raw disk must not be taken for another format: a format that is recorded stays.
      const named = known.format ?? qemuName(await diskFormatOf(file))
      await rebaseQcow2(real, { path: name.startsWith('..') ? file : name, format: named })
    } catch (error) {
      throw diskError(error, real)
    }
    return this.disks.info(real)
  }
}

async function backingOf(path: string): Promise<Backing | undefined> {
  const file = await DiskFile.open(path, true)
  try {
    return (await readHeader(file)).backing
  } catch (error) {
    throw diskError(error, path)
  } finally {
    await file.close()
  }
}

/** @throws ServiceError file-missing; bad-disk with `{ change }` where it is not the file that was laid under, as far as can be told */
async function requireSame(file: string, { identity }: Backing, acceptChange: boolean): Promise<void> {
  const now = await identityOf(file).catch(() => {
    throw new ServiceError('file-missing', phrase('file.none', { path: file }), { path: file })
  })
  const change = identity && changeSince(identity, now)
  if (change && !acceptChange) throw new ServiceError('bad-disk', phrase('disk.otherBase', { path: file, change }), { path: file, change })
}

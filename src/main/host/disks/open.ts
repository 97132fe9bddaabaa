/** Opens a disk image of any format, with everything it is laid over. */
import { open, realpath } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { VmmError } from '../../vmm/errors'
import type { BlockBackend } from '../../vmm/ports'
import { openRawDisk } from '../raw-disk'
import { systemCauseOf } from '../system-cause'
import type { BeforeImages } from './before-images'
import { DiskFormatError } from './formats/common/format-error'
import type { WriteOptions } from './formats/common/write'
import { FOREIGN_FORMATS, foreignFormatOf, openForeignImage, type ForeignFormat } from './formats/foreign'
import type { CacheMode } from './cache-mode'
import { lockDisk, withDiskLock } from './lock'
import type { Backing } from './qcow2/header'
import { changeSince, identityOf, type FileIdentity } from './qcow2/identity'
import { Qcow2Image } from './qcow2/image'
import { MAGIC } from './qcow2/layout'
import { resizeQcow2 } from './qcow2/resize'

export const DISK_FORMATS = ['raw', 'qcow2', ...FOREIGN_FORMATS] as const
export type DiskFormat = (typeof DISK_FORMATS)[number]

/** A disk with the file it comes from. */
export interface OpenDisk extends BlockBackend {
  readonly path: string
  /** How long the range from the offset on is zero because nothing is stored, or else may be stored. */
  extent?(offset: number, length: number): Promise<{ readonly length: number; readonly zero: boolean }>
  /** Has everything in the file, whoever reads it; on stable storage only as far as the image's soundness asks for. Those that are read only have none. */
  settle?(): Promise<void>
  /**
   * From now on keeps what its file holds now, for a copy of this instant that takes its time. Nothing may be under way, and what waits
   * in memory must be settled. Those that are read only have none.
   * @param side see `BeforeImages.begin`
   */
  keepBefore?(side: string): Promise<BeforeImages>
  close(): Promise<void>
}

/** Longer chains are taken for a mistake. */
const MAX_CHAIN = 64

/** By the file's own marks; `raw` where it has none. */
export async function diskFormatOf(path: string): Promise<DiskFormat> {
  const handle = await open(path, 'r')
  try {
    const start = Buffer.alloc(4)
    const { bytesRead } = await handle.read(start, 0, 4, 0)
    if (bytesRead === 4 && start.readUInt32BE(0) === MAGIC) return 'qcow2'
  } finally {
    await handle.close()
  }
  return (await foreignFormatOf(path)) ?? 'raw'
}

/** A disk of another program: read only. */
async function openForeign(path: string, format: ForeignFormat): Promise<OpenDisk> {
  const image = await openForeignImage(path, format)
  const refuse = (): Promise<never> => Promise.reject(new VmmError('disk-io', `${path}: ${format} images are open for reading only`, { path }))
  return {
    path, readOnly: true, blockSize: 512, sizeBytes: image.sizeBytes, read: (offset, target) => image.read(offset, target),
    extent: (offset, length) => image.extent(offset, length),
    write: refuse, discard: refuse, writeZeroes: refuse, flush: () => Promise.resolve(), close: () => image.close(),
  }
}

/** QEMU's names of formats, as images name the format of what they are laid over. */
function formatNamed(name: string, image: string): DiskFormat {
  const known = name === 'vpc' ? 'vhd' : DISK_FORMATS.find((format) => format === name)
  if (known) return known
  throw new DiskFormatError(image, 'header extensions', 0, `its backing file has the unknown format "${name}"`)
}

/** @throws VmmError `disk-io` where the file is not what the image was laid over */
async function refuseChanged(image: string, parent: string, recorded: FileIdentity): Promise<void> {
  const change = changeSince(recorded, await identityOf(parent))
  if (change === undefined) return
  throw new VmmError('disk-io', `${image} is laid over ${parent}, which was changed since: ${change}. Bring the old one back, `
    + 'or say that it is the right one with "nestbox disk rebase"', { reason: 'baseChanged', path: parent, image, change })
}

async function openChain(path: string, format: DiskFormat, readOnly: boolean, chain: readonly string[], cache?: CacheMode): Promise<OpenDisk> {
  if (format === 'raw') return openRawDisk(path, readOnly, cache)
  if (format !== 'qcow2') {
    if (readOnly) return openForeign(path, format)
    throw new VmmError('unsupported', `${path}: ${format} images can be read only; convert it to qcow2 or raw to write to it`, { reason: 'diskReadOnlyFormat', path, format })
  }
  return Qcow2Image.open(path, readOnly, (backing) => openBacking(path, backing, chain, cache), cache === undefined ? {} : { cache })
}

/** What an image is laid over. @param chain real paths of the images above @param cache as the topmost image's */
async function openBacking(path: string, backing: Backing, chain: readonly string[], cache?: CacheMode): Promise<OpenDisk> {
  const parent = resolve(dirname(path), backing.path)
  const real = await realpath(parent).catch((cause: unknown) => {
    const why = systemCauseOf(cause)
    throw new VmmError('disk-io', `${path} is laid over ${parent}, which cannot be opened: ${why.detail}`, { reason: 'baseNotOpened', image: path, path: parent, ...why }, { cause })
  })
  if (backing.identity) await refuseChanged(path, parent, backing.identity)
  if (chain.includes(real)) throw new DiskFormatError(path, 'backing file name', 0, `${parent} is laid over itself`)
  if (chain.length >= MAX_CHAIN) throw new DiskFormatError(path, 'backing file name', 0, `more than ${MAX_CHAIN} images lie over each other`)
  const known = backing.format === undefined ? undefined : formatNamed(backing.format, path)
  return known ? openChain(parent, known, true, [...chain, real], cache) : openGuessed(path, parent, [...chain, real])
}

/**
 * A base of which the image does not say the format. A guest can write the header of any format into its raw disk: what is
 * only guessed must not lead on to further files of the host.
 */
async function openGuessed(path: string, parent: string, chain: readonly string[]): Promise<OpenDisk> {
  const format = await diskFormatOf(parent)
  const refuse = (): Promise<never> => Promise.reject(new DiskFormatError(path, 'backing file name', 0,
    `${parent} refers to other files itself, so it is used only where its format is recorded, and the format is not recorded (qemu-img rebase -u -F ${format} records it)`))
  // VMDK descriptors name the files of the data.
  if (format === 'vmdk') return refuse()
  return format === 'qcow2' ? Qcow2Image.open(parent, true, refuse) : openChain(parent, format, true, chain)
}

/**
 * @param format undefined: by the file's own marks @param cache `writeback` unless given
 * @throws VmmError `disk-io`, `unsupported`; DiskFormatError: each names the file
 */
export async function openDisk(path: string, readOnly: boolean, format?: DiskFormat, cache?: CacheMode): Promise<OpenDisk> {
  const known = format ?? await diskFormatOf(path).catch((cause: unknown) => {
    const why = systemCauseOf(cause)
    throw new VmmError('disk-io', `${path}: cannot open the disk: ${why.detail}`, { reason: 'diskNotOpened', path, ...why }, { cause })
  })
  const chain = [await realpath(path).catch(() => path)]
  return readOnly ? openChain(path, known, true, chain, cache) : openLocked(path, () => openChain(path, known, false, chain, cache))
}

/** For writing: the lock goes when the disk is closed. */
async function openLocked(path: string, open: () => Promise<OpenDisk>): Promise<OpenDisk> {
  const lock = await lockDisk(path)
  try {
    const disk = await open()
    const close = disk.close.bind(disk)
    return Object.assign(disk, {
      close: async () => {
        try {
          await close()
        } finally {
          await lock?.release()
        }
      },
    })
  } catch (error) {
    await lock?.release()
    throw error
  }
}

/**
 * Gives a raw or qcow2 disk another size: what is added reads as zeroes, what is cut off is lost.
 * @throws RangeError for sizes that cannot be; VmmError `unsupported` for other formats, `disk-io`; DiskFormatError; AbortError: it is as it was
 */
export function resizeDisk(path: string, sizeBytes: number, format: DiskFormat, options: WriteOptions = {}): Promise<void> {
  return withDiskLock(path, () => resizeUnlocked(path, sizeBytes, format, options))
}

async function resizeUnlocked(path: string, sizeBytes: number, format: DiskFormat, options: WriteOptions): Promise<void> {
  if (format === 'qcow2') return resizeQcow2(path, sizeBytes, async (backing) => openBacking(path, backing, [await realpath(path)]), options)
  if (format !== 'raw') throw new VmmError('unsupported', `${path}: ${format} images cannot have another size; convert it to qcow2 or raw`, { path })
  options.signal?.throwIfAborted()
  const file = await open(path, 'r+')
  try {
    await file.truncate(sizeBytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

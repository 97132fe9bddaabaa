/** What an image lies over, layer by layer, with what is wrong with each. */
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { phrase, type DiskLayer } from '../../../preload/contract'
import { diskFormatOf, openDisk, type DiskFormat } from '../../host/disks/open'
import { DiskFile } from '../../host/disks/qcow2/disk-file'
import { readHeader } from '../../host/disks/qcow2/header'
import { changeSince, identityOf } from '../../host/disks/qcow2/identity'
import { hostSaid } from '../core-said'
import { systemCode } from '../errors'

/** As many as can be opened (host/disks/open). */
const MAX_LAYERS = 64
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
    return { sizeBytes, below, ...(change && { problem: phrase('disk.baseChanged', { path: below, change }) }) }
  } finally {
    await file.close()
  }
}

async function readLayer(path: string, recorded?: DiskFormat): Promise<Layer> {
  try {
    const format = recorded ?? await diskFormatOf(path)
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
    const problem = systemCode(error) === 'ENOENT' ? phrase('disk.missing', { path }) : hostSaid(error)
    return { layer: { path, problem }, below: undefined }
  }
}

/**
 * From the image down to its base. Never fails: what is wrong stands in the layer.
 * @param format what the image is known to be; by its own marks unless given, and an image that has lost them would be a raw one
 */
export async function layersOf(path: string, format?: DiskFormat): Promise<DiskLayer[]> {
  const layers: DiskLayer[] = []
  const seen = new Set<string>()
  for (let at: string | undefined = path; at !== undefined;) {
    const { layer, below }: Layer = await readLayer(at, at === path ? format : undefined)
    layers.push(layer)
    seen.add(at)
    if (below !== undefined && (seen.has(below) || layers.length === MAX_LAYERS)) {
      layers[layers.length - 1] = { ...layer, problem: phrase('disk.loop', { path: below }) }
      return layers
    }
    at = below
  }
  return layers
}

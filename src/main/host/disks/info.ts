/** What a disk image is, and the images below it: read from the headers alone, so that a broken chain can be looked at too. */
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { diskFormatOf, openDisk, type DiskFormat } from './open'
import { DiskFile } from './qcow2/disk-file'
import { readHeader, type Header } from './qcow2/header'
import { Compression, Incompatible } from './qcow2/layout'

const MAX_CHAIN = 64
const BLOCK_UNIT = 512

export interface DiskInfo {
  readonly path: string
  readonly format: DiskFormat
  /** What a guest sees, in bytes. */
  readonly sizeBytes: number
  /** What the file takes on the host, and how long it is. */
  readonly usedBytes: number
  readonly fileBytes: number
  readonly qcow2?: {
    readonly version: 2 | 3
    readonly clusterBytes: number
    readonly compression: 'zlib' | 'zstd'
    readonly snapshots: number
    readonly isMarkedDirty: boolean
    readonly isMarkedCorrupt: boolean
    /** As the image says it, and the file that is. */
    readonly backing?: { readonly name: string; readonly path: string; readonly format?: string }
  }
}

function aboutQcow2(path: string, header: Header): NonNullable<DiskInfo['qcow2']> {
  const { backing } = header
  return {
    version: header.version, clusterBytes: 2 ** header.clusterBits, compression: header.compression === Compression.ZSTD ? 'zstd' : 'zlib',
    snapshots: header.snapshots, isMarkedDirty: (header.incompatible & Incompatible.DIRTY) !== 0n, isMarkedCorrupt: (header.incompatible & Incompatible.CORRUPT) !== 0n,
    ...(backing && { backing: { name: backing.path, path: resolve(dirname(path), backing.path), ...(backing.format !== undefined && { format: backing.format }) } }),
  }
}

async function sizeOf(path: string, format: DiskFormat): Promise<number> {
  const disk = await openDisk(path, true, format)
  await disk.close()
  return disk.sizeBytes
}

/** @param format undefined: by the file's own marks @throws DiskFormatError, VmmError `disk-io`, system errors */
export async function diskInfo(path: string, format?: DiskFormat): Promise<DiskInfo> {
  const { blocks, size } = await stat(path)
  const known = format ?? await diskFormatOf(path)
  const common = { path, format: known, fileBytes: size, usedBytes: process.platform === 'win32' ? size : blocks * BLOCK_UNIT }
  if (known !== 'qcow2') return { ...common, sizeBytes: await sizeOf(path, known) }
  const file = await DiskFile.open(path, true)
  try {
    const header = await readHeader(file)
    return { ...common, sizeBytes: header.sizeBytes, qcow2: aboutQcow2(path, header) }
  } finally {
    await file.close()
  }
}

export interface ChainInfo {
  /** The image itself first. */
  readonly images: readonly DiskInfo[]
  /** Why it does not go on, where the last one is laid over something that cannot be looked at. */
  readonly problem?: string
}

/** @throws as `diskInfo`, for the first image only */
export async function diskChain(path: string, format?: DiskFormat): Promise<ChainInfo> {
  const images = [await diskInfo(path, format)]
  for (let below = images[0].qcow2?.backing; below; below = images[images.length - 1].qcow2?.backing) {
    const { path: parent, format: named } = below
    if (images.length >= MAX_CHAIN || images.some((image) => image.path === parent)) return { images, problem: `${parent} is laid over itself` }
    try {
      // A base that is said to be raw is not looked into.
      images.push(await diskInfo(parent, named === 'raw' || named === 'qcow2' ? named : undefined))
    } catch (error) {
      return { images, problem: error instanceof Error ? error.message : String(error) }
    }
  }
  return { images }
}

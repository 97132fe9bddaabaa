/** Disk formats of other programs: all are read, and written anew by export and convert. */
import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import type { ForeignImage } from './common/foreign-image'
import type { DiskSource, WriteOptions } from './common/write'
import { SIGNATURE as VDI_SIGNATURE } from './vdi/layout'
import { openVdi } from './vdi/read'
import { writeVdi } from './vdi/write'
import { FOOTER_BYTES, FOOTER_COOKIE } from './vhd/layout'
import { openVhd } from './vhd/read'
import { writeVhd } from './vhd/write'
import { FILE_SIGNATURE } from './vhdx/layout'
import { openVhdx } from './vhdx/read'
import { writeVhdx } from './vhdx/write'
import { DESCRIPTOR_START, MAGIC, MAGIC_COWD } from './vmdk/layout'
import { openVmdk } from './vmdk/read'
import { writeVmdk } from './vmdk/write'

export const FOREIGN_FORMATS = ['vdi', 'vmdk', 'vhd', 'vhdx'] as const
export type ForeignFormat = (typeof FOREIGN_FORMATS)[number]

const OPEN: Readonly<Record<ForeignFormat, (path: string) => Promise<ForeignImage>>> = { vdi: openVdi, vmdk: openVmdk, vhd: openVhd, vhdx: openVhdx }

/** Opens for reading only. @throws DiskFormatError, system errors of opening a file */
export const openForeignImage = (path: string, format: ForeignFormat): Promise<ForeignImage> => OPEN[format](path)

/**
 * Writes the disk as a new file: VDI, VHD and VHDX dynamic, VMDK stream-optimised. A failure or cancel leaves a part of it behind.
 * @param fileName the file's later name where `path` is a temporary one
 * @throws system errors; AbortError; RangeError where the disk is too large for the format
 */
export function writeForeignImage(source: DiskSource, path: string, format: ForeignFormat, options: WriteOptions = {}, fileName = basename(path)): Promise<void> {
  switch (format) {
    case 'vdi': return writeVdi(source, path, options)
    case 'vmdk': return writeVmdk(source, path, fileName, options)
    case 'vhd': return writeVhd(source, path, options)
    case 'vhdx': return writeVhdx(source, path, options)
  }
}

/** Which of the formats the file has, by its own marks; undefined for any other, such as raw. */
export async function foreignFormatOf(path: string): Promise<ForeignFormat | undefined> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const part = async (at: number, length: number): Promise<Buffer> => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, at)
      return buffer.subarray(0, bytesRead)
    }
    const start = await part(0, FOOTER_BYTES)
    const begins = (mark: string): boolean => start.toString('latin1', 0, mark.length) === mark
    if (begins(FILE_SIGNATURE)) return 'vhdx'
    if (begins(DESCRIPTOR_START) || (start.length >= 4 && [MAGIC, MAGIC_COWD].includes(start.readUInt32LE(0)))) return 'vmdk'
    if (start.length >= 0x48 && start.readUInt32LE(0x40) === VDI_SIGNATURE) return 'vdi'
    if (begins(FOOTER_COOKIE)) return 'vhd'
    if (size < FOOTER_BYTES - 1) return undefined
    const end = (await part(Math.max(0, size - FOOTER_BYTES), FOOTER_BYTES)).toString('latin1')
    return end.startsWith(FOOTER_COOKIE) || end.startsWith(FOOTER_COOKIE, 1) ? 'vhd' : undefined
  } finally {
    await handle.close()
  }
}

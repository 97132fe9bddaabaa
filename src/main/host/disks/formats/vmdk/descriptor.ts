/** The text part of a VMDK: keys and values, and the files (extents) the disk is made of. */
import { basename } from 'node:path'
import { checkDiskSize } from '../common/foreign-image'
import type { ImageFile } from '../common/image-file'
import { DESCRIPTOR_START, NO_PARENT, SECTOR } from './layout'

const NAME = 'VMDK descriptor'
export const MAX_DESCRIPTOR = 1 << 20
/** All of them are open at once: 1 TiB in pieces of 2 GiB. */
const MAX_EXTENTS = 512

export interface Extent {
  readonly kind: 'flat' | 'sparse' | 'zero'
  readonly sectors: number
  /** In the descriptor's folder; '' for zeroes. */
  readonly fileName: string
  /** Of flat data in its file, in sectors. */
  readonly offset: number
}

export interface Descriptor {
  readonly createType: string
  readonly extents: readonly Extent[]
}

const KINDS: Readonly<Record<string, Extent['kind']>> = { FLAT: 'flat', VMFS: 'flat', SPARSE: 'sparse', ZERO: 'zero' }
const EXTENT = /^(?:RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+([A-Z]+)(?:\s+"([^"]*)"(?:\s+(\d{1,15}))?)?\s*$/
const PAIR = /^([A-Za-z][\w.]*)\s*=\s*"?([^"]*)"?\s*$/

/** A descriptor from a stranger must not name any other file of this computer. */
function checkFileName(file: ImageFile, name: string): void {
  if (name === '' || name !== basename(name) || /[/\\\0]/.test(name) || name === '.' || name === '..') {
    throw file.fail(NAME, 0, `the extent '${name}' is not a plain file name in the descriptor's folder`)
  }
}

function parseExtent(file: ImageFile, line: string): Extent {
  const match = EXTENT.exec(line)
  if (!match) throw file.fail(NAME, 0, `the line '${line.slice(0, 80)}' describes no extent`)
  const [, sectors, type, fileName = '', offset = '0'] = match
  const kind = KINDS[type]
  if (!kind) throw file.fail(NAME, 0, `extents of the type ${type} are not supported`)
  if (kind !== 'zero') checkFileName(file, fileName)
  return { kind, sectors: Number(sectors), fileName, offset: Number(offset) }
}

/** @param file for messages @throws DiskFormatError */
export function parseDescriptor(file: ImageFile, bytes: Uint8Array): Descriptor {
  const end = bytes.indexOf(0)
  const content = Buffer.from(bytes.buffer, bytes.byteOffset, end < 0 ? bytes.length : end).toString('utf8')
  if (!content.startsWith(DESCRIPTOR_START)) throw file.fail(NAME, 0, `it does not begin with '${DESCRIPTOR_START}'`)
  const extents: Extent[] = []
  const values = new Map<string, string>()
  for (const raw of content.split(/\r?\n/)) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    if (/^(?:RW|RDONLY|NOACCESS)\s/.test(line)) {
      if (extents.length === MAX_EXTENTS) throw file.fail(NAME, 0, `there are more than ${MAX_EXTENTS} extents`)
      extents.push(parseExtent(file, line))
      continue
    }
    const pair = PAIR.exec(line)
    if (pair) values.set(pair[1].toLowerCase(), pair[2])
  }
  const parent = values.get('parentcid') ?? NO_PARENT
  if (parent.toLowerCase() !== NO_PARENT) {
    throw file.fail(NAME, 0, 'it holds only changes to another disk; consolidate the snapshots first (vmware-vdiskmanager -r)')
  }
  return { createType: values.get('createtype') ?? '', extents }
}

/** Of all extents together. @throws DiskFormatError where no disk has that size */
export function totalBytes(file: ImageFile, extents: readonly Extent[]): number {
  const bytes = extents.reduce((sum, { sectors }) => sum + sectors, 0) * SECTOR
  checkDiskSize(file, NAME, bytes)
  return bytes
}

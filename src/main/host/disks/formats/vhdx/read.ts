/**
 * Hyper-V disks (VHDX): two headers of which the newer sound one counts, two copies of the region table, a metadata table, and a
 * block table with an entry for a sector bitmap after every chunk of blocks. A file whose log holds changes is refused: its tables
 * may be half written, and reading must not change the file.
 */
import { checkDiskSize, ForeignImage, isPowerOfTwo, openWith, type Piece, type PieceSource } from '../common/foreign-image'
import { ImageFile, text, u64 } from '../common/image-file'
import { PagedTable } from '../common/paged-table'
import { crc32c } from './crc32c'
import {
  BLOCK, CHECKSUM_AT, chunkRatio, ENTRY_BYTES, FILE_SIGNATURE, GUID, guidAt, HEADER_BYTES, HEADER_OFFSETS, KIB64, MAX_METADATA, MAX_REGIONS, META,
  METADATA_BYTES, MIB, NO_GUID, PARAMETER, REGION_BYTES, REGION_ENTRIES_AT, REGION_OFFSETS,
} from './layout'
import { checkLogEmpty } from './log'

const HEADER = 'VHDX header'
const REGIONS = 'VHDX region table'
const METADATA = 'VHDX metadata table'

const sound = (view: DataView, signature: string): boolean =>
  text(view, 0, 4) === signature && crc32c(new Uint8Array(view.buffer), CHECKSUM_AT) === view.getUint32(CHECKSUM_AT, true)

/** The sound header with the higher sequence number. */
async function currentHeader(file: ImageFile): Promise<{ view: DataView; at: number }> {
  let best: { view: DataView; at: number; sequence: bigint } | undefined
  for (const at of HEADER_OFFSETS) {
    const view = await file.bytes(HEADER, at, HEADER_BYTES)
    const sequence = view.getBigUint64(8, true)
    if (sound(view, 'head') && (!best || sequence > best.sequence)) best = { view, at, sequence }
  }
  if (!best) throw file.fail(HEADER, HEADER_OFFSETS[0], 'neither of the two headers is sound')
  return best
}

interface Region {
  readonly offset: number
  readonly length: number
}

/** The regions this reader knows; one it does not know and that says it is required is refused. */
async function readRegions(file: ImageFile): Promise<Map<string, Region>> {
  for (const at of REGION_OFFSETS) {
    const view = await file.bytes(REGIONS, at, REGION_BYTES)
    if (!sound(view, 'regi')) continue
    const count = view.getUint32(8, true)
    if (count > MAX_REGIONS) throw file.fail(REGIONS, at + 8, `${count} regions are more than a table can hold`)
    const regions = new Map<string, Region>()
    for (let i = 0; i < count; i++) {
      const entry = REGION_ENTRIES_AT + i * ENTRY_BYTES
      const guid = guidAt(view, entry)
      const region = { offset: u64(file, REGIONS, view, entry + 16, true), length: view.getUint32(entry + 24, true) }
      if (guid !== GUID.bat && guid !== GUID.metadata) {
        if (view.getUint32(entry + 28, true) & 1) throw file.fail(REGIONS, at + entry, `the region ${guid} is required and unknown`)
        continue
      }
      if (regions.has(guid)) throw file.fail(REGIONS, at + entry, `the region ${guid} is there twice`)
      if (region.offset < MIB) throw file.fail(REGIONS, at + entry, `a region at byte ${region.offset} would lie in the file's header`)
      file.checkRange(REGIONS, region.offset, region.length)
      regions.set(guid, region)
    }
    return regions
  }
  throw file.fail(REGIONS, REGION_OFFSETS[0], 'neither of the two copies is sound')
}

const KNOWN_ITEMS: Readonly<Record<string, number>> = {
  [GUID.fileParameters]: 8, [GUID.diskSize]: 8, [GUID.diskId]: 16, [GUID.logicalSector]: 4, [GUID.physicalSector]: 4, [GUID.parentLocator]: 20,
}

/** Values of the metadata items this reader knows. */
async function readMetadata(file: ImageFile, region: Region): Promise<Map<string, DataView>> {
  const table = await file.bytes(METADATA, region.offset, METADATA_BYTES)
  if (text(table, 0, 8) !== 'metadata') throw file.fail(METADATA, region.offset, "it does not begin with 'metadata'")
  const count = table.getUint16(10, true)
  if (count > MAX_METADATA) throw file.fail(METADATA, region.offset + 10, `${count} items are more than a table can hold`)
  const items = new Map<string, DataView>()
  for (let i = 1; i <= count; i++) {
    const at = i * ENTRY_BYTES
    const guid = guidAt(table, at)
    const offset = table.getUint32(at + 16, true)
    const least = KNOWN_ITEMS[guid]
    if (least === undefined) {
      if (table.getUint32(at + 24, true) & META.required) throw file.fail(METADATA, region.offset + at, `the item ${guid} is required and unknown`)
      continue
    }
    if (items.has(guid)) throw file.fail(METADATA, region.offset + at, `the item ${guid} is there twice`)
    if (offset < METADATA_BYTES || offset + least > region.length) throw file.fail(METADATA, region.offset + at, `the item ${guid} is not within the metadata`)
    items.set(guid, await file.bytes(METADATA, region.offset + offset, least))
  }
  return items
}

interface Parameters {
  readonly sizeBytes: number
  readonly blockBytes: number
  readonly sectorBytes: number
  readonly fixed: boolean
}

function readParameters(file: ImageFile, region: Region, items: Map<string, DataView>): Parameters {
  const item = (guid: string, name: string): DataView => {
    const view = items.get(guid)
    if (!view) throw file.fail(METADATA, region.offset, `the ${name} is missing`)
    return view
  }
  const parameters = item(GUID.fileParameters, 'block size')
  const flags = parameters.getUint32(4, true)
  if (flags & PARAMETER.hasParent || items.has(GUID.parentLocator)) {
    throw file.fail(METADATA, region.offset, 'it is a differencing image, which holds only changes to another disk; merge it with its parent first (Merge-VHD)')
  }
  const blockBytes = parameters.getUint32(0, true)
  if (!isPowerOfTwo(blockBytes) || blockBytes < MIB || blockBytes > 256 * MIB) throw file.fail(METADATA, region.offset, `a block size of ${blockBytes} is not possible`)
  const sectorBytes = item(GUID.logicalSector, 'logical sector size').getUint32(0, true)
  if (sectorBytes !== 512 && sectorBytes !== 4096) throw file.fail(METADATA, region.offset, `a sector size of ${sectorBytes} is not possible`)
  const sizeBytes = u64(file, METADATA, item(GUID.diskSize, 'disk size'), 0, true)
  checkDiskSize(file, METADATA, sizeBytes)
  return { sizeBytes, blockBytes, sectorBytes, fixed: (flags & PARAMETER.leaveAllocated) !== 0 }
}

class VhdxPieces implements PieceSource {
  readonly files: readonly ImageFile[]
  readonly subformat: string
  readonly sizeBytes: number
  private readonly table: PagedTable
  private readonly ratio: number

  constructor(private readonly file: ImageFile, private readonly parameters: Parameters, bat: Region) {
    this.files = [file]
    this.subformat = parameters.fixed ? 'fixed' : 'dynamic'
    this.sizeBytes = parameters.sizeBytes
    this.ratio = chunkRatio(parameters.blockBytes, parameters.sectorBytes)
    const blocks = Math.ceil(parameters.sizeBytes / parameters.blockBytes)
    const entries = blocks + Math.floor((blocks - 1) / this.ratio)
    if (entries * 8 > bat.length) throw file.fail('VHDX block table', bat.offset, `${bat.length} bytes are too few for ${entries} entries`)
    this.table = new PagedTable(file, 'VHDX block table', bat.offset, entries, 8, true)
  }

  async locate(offset: number): Promise<Piece> {
    const { blockBytes } = this.parameters
    const block = Math.floor(offset / blockBytes)
    const within = offset % blockBytes
    const length = blockBytes - within
    const index = block + Math.floor(block / this.ratio)
    const entry = await this.table.u64(index)
    const state = Number(entry & 7n)
    const fail = (why: string): Error => this.file.fail('VHDX block table', this.table.offsetOf(index), `block ${block} ${why}`)
    if (state === BLOCK.partial) throw fail('is partly in a parent, and there is none')
    if (state !== BLOCK.present) {
      if (state > BLOCK.unmapped) throw fail(`is in the unknown state ${state}`)
      return { kind: 'zero', length }
    }
    const start = Number(entry >> 20n) * MIB
    if (start < MIB || start >= this.file.size) throw fail(`is said to be at byte ${start}, outside the file's data`)
    return { kind: 'data', length, file: this.file, at: start + within }
  }
}

async function parse(file: ImageFile): Promise<PieceSource> {
  const id = await file.bytes('VHDX file identifier', 0, 8)
  if (text(id, 0, 8) !== FILE_SIGNATURE) throw file.fail('VHDX file identifier', 0, `it does not begin with '${FILE_SIGNATURE}'`)
  file.checkRange(REGIONS, REGION_OFFSETS[1], KIB64)
  const { view, at } = await currentHeader(file)
  const version = view.getUint16(66, true)
  if (version !== 1) throw file.fail(HEADER, at + 66, `version ${version} is not supported, only 1`)
  const logGuid = guidAt(view, 48)
  if (logGuid !== NO_GUID) await checkLogEmpty(file, logGuid, u64(file, HEADER, view, 72, true), view.getUint32(68, true))
  const regions = await readRegions(file)
  const bat = regions.get(GUID.bat)
  const metadata = regions.get(GUID.metadata)
  if (!bat || !metadata) throw file.fail(REGIONS, REGION_OFFSETS[0], `the region of the ${bat ? 'metadata' : 'block table'} is missing`)
  return new VhdxPieces(file, readParameters(file, metadata, await readMetadata(file, metadata)), bat)
}

/** @throws DiskFormatError, system errors of opening the file */
export async function openVhdx(path: string): Promise<ForeignImage> {
  return openWith(await ImageFile.open(path), 'vhdx', parse)
}

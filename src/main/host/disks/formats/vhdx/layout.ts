/** Numbers of the VHDX format (Microsoft, [MS-VHDX]); all fields are little-endian. */
export const KIB64 = 64 << 10
export const MIB = 1 << 20
export const FILE_SIGNATURE = 'vhdxfile'
export const HEADER_OFFSETS = [KIB64, 2 * KIB64] as const
export const HEADER_BYTES = 4096
export const REGION_OFFSETS = [3 * KIB64, 4 * KIB64] as const
export const REGION_BYTES = KIB64
/** Of headers and region tables. */
export const CHECKSUM_AT = 4
export const REGION_ENTRIES_AT = 16
export const MAX_REGIONS = 2047
export const METADATA_BYTES = KIB64
export const MAX_METADATA = 2047
export const ENTRY_BYTES = 32
export const LOG_ENTRY_BYTES = 4096

export const GUID = {
  bat: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  diskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  diskId: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  logicalSector: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSector: 'cda348c7-445d-4471-9cc9-e9885251c556',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const

/** Flags of a metadata entry. */
export const META = { user: 1, virtualDisk: 2, required: 4 } as const
/** Flags of the file parameters. */
export const PARAMETER = { leaveAllocated: 1, hasParent: 2 } as const
/** States of a payload block. */
export const BLOCK = { notPresent: 0, undefined: 1, zero: 2, unmapped: 3, present: 6, partial: 7 } as const

/** Payload blocks between two entries for sector bitmaps, which every block table has, used or not. */
export const chunkRatio = (blockBytes: number, sectorBytes: number): number => (2 ** 23 * sectorBytes) / blockBytes

/** A GUID as the file has it (the first three fields little-endian), in its usual form. */
export function guidAt(view: DataView, at: number): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')
  const bytes = (from: number, to: number): string => Array.from({ length: to - from }, (_, i) => hex(view.getUint8(at + from + i), 2)).join('')
  return `${hex(view.getUint32(at, true), 8)}-${hex(view.getUint16(at + 4, true), 4)}-${hex(view.getUint16(at + 6, true), 4)}-${bytes(8, 10)}-${bytes(10, 16)}`
}

export function putGuid(view: DataView, at: number, guid: string): void {
  const [a, b, c, d, e] = guid.split('-')
  view.setUint32(at, Number.parseInt(a, 16), true)
  view.setUint16(at + 4, Number.parseInt(b, 16), true)
  view.setUint16(at + 6, Number.parseInt(c, 16), true)
  Buffer.from(d + e, 'hex').forEach((byte, i) => view.setUint8(at + 8 + i, byte))
}

export const NO_GUID = '00000000-0000-0000-0000-000000000000'

/**
 * Small CD images: ISO 9660 (ECMA-119) with Joliet names, one folder of files. Linux, the BSDs and Windows show the Joliet names
 * as they are; the ISO names beside them are made up, for readers that know nothing else.
 */
const SECTOR = 2048
const DESCRIPTORS = 16
const TABLES = DESCRIPTORS + 3
const ROOTS = TABLES + 4
const FIRST_FILE = ROOTS + 2
const MAX_NAME = 64
const MAX_VOLUME = 16

export interface IsoFile {
  /** At most 64 characters of UCS-2. */
  readonly name: string
  readonly data: Uint8Array
}

interface Placed extends IsoFile {
  readonly sector: number
  readonly isoName: string
}

/** A number of 32 bits in both byte orders (7.3.3). */
function both32(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true)
  view.setUint32(at + 4, value, false)
}

function both16(view: DataView, at: number, value: number): void {
  view.setUint16(at, value, true)
  view.setUint16(at + 2, value, false)
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0))

function ucs2(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), false)
  return bytes
}

/** Text of a field, filled up with spaces. */
function field(target: Uint8Array, at: number, length: number, text: string, isJoliet: boolean): void {
  const filler = isJoliet ? ucs2(' '.repeat(length / 2)) : ascii(' '.repeat(length))
  target.set(filler, at)
  target.set((isJoliet ? ucs2(text) : ascii(text)).subarray(0, length), at)
}

/** 9.1: one entry of a folder. */
function directoryRecord(name: Uint8Array, sector: number, bytes: number, isFolder: boolean, date: Date): Uint8Array {
  const record = new Uint8Array(33 + name.length + (name.length % 2 === 0 ? 1 : 0))
  const view = new DataView(record.buffer)
  record[0] = record.length
  both32(view, 2, sector)
  both32(view, 10, bytes)
  record.set([date.getUTCFullYear() - 1900, date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds(), 0], 18)
  record[25] = isFolder ? 2 : 0
  both16(view, 28, 1)
  record[32] = name.length
  record.set(name, 33)
  return record
}

/** The one folder, within one sector. @throws RangeError where there are too many files for that */
function rootFolder(files: readonly Placed[], sector: number, isJoliet: boolean, date: Date): Uint8Array {
  const nameOf = (file: Placed): Uint8Array => (isJoliet ? ucs2(file.name) : ascii(file.isoName))
  // In the order of their names, as 9.3 wants it.
  const sorted = [...files].sort((a, b) => Buffer.compare(nameOf(a), nameOf(b)))
  const records = [
    directoryRecord(Uint8Array.of(0), sector, SECTOR, true, date), directoryRecord(Uint8Array.of(1), sector, SECTOR, true, date),
    ...sorted.map((file) => directoryRecord(nameOf(file), file.sector, file.data.length, false, date)),
  ]
  const folder = new Uint8Array(SECTOR)
  let at = 0
  for (const record of records) {
    if (at + record.length > SECTOR) throw new RangeError('too many files for one folder')
    folder.set(record, at)
    at += record.length
  }
  return folder
}

/** 8.4.26: seventeen bytes. */
const longDate = (date: Date): Uint8Array =>
  Uint8Array.from([...ascii(date.toISOString().replace(/\D/g, '').slice(0, 16)), 0])

const NO_DATE = Uint8Array.from([...ascii('0'.repeat(16)), 0])
const PATH_TABLE_BYTES = 10

/** 8.4 and, with the escape sequence of UCS-2 level 3, 8.5. */
function descriptor(volume: string, sectors: number, isJoliet: boolean, date: Date): Uint8Array {
  const bytes = new Uint8Array(SECTOR)
  const view = new DataView(bytes.buffer)
  const table = TABLES + (isJoliet ? 2 : 0)
  bytes[0] = isJoliet ? 2 : 1
  bytes.set(ascii('CD001'), 1)
  bytes[6] = 1
  field(bytes, 8, 32, '', isJoliet)
  field(bytes, 40, 32, volume, isJoliet)
  both32(view, 80, sectors)
  if (isJoliet) bytes.set(ascii('%/E'), 88)
  both16(view, 120, 1)
  both16(view, 124, 1)
  both16(view, 128, SECTOR)
  both32(view, 132, PATH_TABLE_BYTES)
  view.setUint32(140, table, true)
  view.setUint32(148, table + 1, false)
  bytes.set(directoryRecord(Uint8Array.of(0), ROOTS + (isJoliet ? 1 : 0), SECTOR, true, date), 156)
  for (const [at, length] of [[190, 128], [318, 128], [446, 128], [574, 128]]) field(bytes, at, length, '', isJoliet)
  field(bytes, 574, 128, isJoliet ? 'Nestbox' : 'NESTBOX', isJoliet)
  // 37 bytes are no whole number of UCS-2 characters: the last byte stays zero.
  for (const at of [702, 739, 776]) field(bytes, at, isJoliet ? 36 : 37, '', isJoliet)
  bytes.set(longDate(date), 813)
  bytes.set(longDate(date), 830)
  bytes.set(NO_DATE, 847)
  bytes.set(NO_DATE, 864)
  bytes[881] = 1
  return bytes
}

/** 9.4 for the root alone. */
function pathTable(root: number, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(SECTOR)
  const view = new DataView(bytes.buffer)
  bytes[0] = 1
  view.setUint32(2, root, littleEndian)
  view.setUint16(6, 1, littleEndian)
  return bytes
}

const TERMINATOR = ((): Uint8Array => {
  const bytes = new Uint8Array(SECTOR)
  bytes.set([255, ...ascii('CD001'), 1])
  return bytes
})()

/** Unique and of the few characters that ISO 9660 level 1 knows. */
const isoNameOf = (name: string, i: number): string =>
  `${name.toUpperCase().replace(/[^A-Z0-9]/g, '_').slice(0, 6).padEnd(1, '_')}${i.toString(36).toUpperCase().padStart(2, '0')}.;1`

function checkNames(volume: string, files: readonly IsoFile[]): void {
  if (!/^\w+$/.test(volume) || volume.length > MAX_VOLUME) throw new RangeError(`'${volume}' cannot be a volume's name`)
  for (const { name } of files) {
    // eslint-disable-next-line no-control-regex -- Joliet forbids them
    if (name === '' || name.length > MAX_NAME || /[\u0000-\u001f*/:;?\\]/.test(name)) throw new RangeError(`'${name}' cannot be a file's name`)
  }
  if (new Set(files.map(({ name }) => name)).size !== files.length) throw new RangeError('two files have one name')
}

/**
 * @param volume the label, such as `cidata`
 * @returns the whole image, a multiple of 2048 bytes
 * @throws RangeError for names that cannot be, and more files than one sector lists (about twenty)
 */
export function buildIso(volume: string, files: readonly IsoFile[], date = new Date()): Uint8Array {
  checkNames(volume, files)
  let sector = FIRST_FILE
  const placed = files.map((file, i): Placed => {
    const at = sector
    sector += Math.ceil(file.data.length / SECTOR)
    return { ...file, sector: at, isoName: isoNameOf(file.name, i) }
  })
  const image = new Uint8Array(sector * SECTOR)
  const put = (at: number, bytes: Uint8Array): void => image.set(bytes, at * SECTOR)
  put(DESCRIPTORS, descriptor(volume, sector, false, date))
  put(DESCRIPTORS + 1, descriptor(volume, sector, true, date))
  put(DESCRIPTORS + 2, TERMINATOR)
  for (const [i, root] of [ROOTS, ROOTS + 1].entries()) {
    put(TABLES + 2 * i, pathTable(root, true))
    put(TABLES + 2 * i + 1, pathTable(root, false))
    put(root, rootFolder(placed, root, i === 1, date))
  }
  for (const file of placed) put(file.sector, file.data)
  return image
}

/** The log of a VHDX: whether it holds changes that are not in the file's tables yet ([MS-VHDX] 2.3). */
import type { ImageFile } from '../common/image-file'
import { text } from '../common/image-file'
import { crc32c } from './crc32c'
import { CHECKSUM_AT, guidAt, LOG_ENTRY_BYTES, MIB } from './layout'

const LOG = 'VHDX log'
/** Checked at once; a longer entry counts as sound, for this reader only refuses. */
const MAX_ENTRY = 4 * MIB

/** Whether an entry of this log begins there: right signature, log and checksum. */
async function soundEntry(file: ImageFile, logGuid: string, at: number, end: number): Promise<boolean> {
  const header = await file.bytes(LOG, at, 64)
  if (text(header, 0, 4) !== 'loge' || guidAt(header, 32) !== logGuid) return false
  const length = header.getUint32(8, true)
  // An entry may wrap around the log's end; then it is not checked further: a log in such use is not empty.
  if (length === 0 || length % LOG_ENTRY_BYTES !== 0) return false
  if (at + length > end || length > MAX_ENTRY) return true
  const entry = await file.bytes(LOG, at, length)
  return crc32c(new Uint8Array(entry.buffer), CHECKSUM_AT) === header.getUint32(CHECKSUM_AT, true)
}

/** @throws DiskFormatError where the log holds changes that must be carried out first */
export async function checkLogEmpty(file: ImageFile, logGuid: string, offset: number, length: number): Promise<void> {
  if (length === 0) return
  if (offset < MIB || length % MIB !== 0 || length > 512 * MIB) throw file.fail(LOG, offset, `a log of ${length} bytes is not possible`)
  file.checkRange(LOG, offset, length)
  for (let at = offset; at < offset + length; at += LOG_ENTRY_BYTES) {
    if (await soundEntry(file, logGuid, at, offset + length)) {
      throw file.fail(LOG, at, 'the file was not closed properly, and its log holds changes; open it once in Hyper-V, or run qemu-img check -r all on it')
    }
  }
}

/** Says anew what an image is laid over, and takes the backing file as it is now. No data is moved. */
import { stat, utimes } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { systemCauseOf } from '../../system-cause'
import { VmmError } from '../../../vmm/errors'
import { withDiskLock } from '../lock'
import { DiskFile } from './disk-file'
import { putBacking, readHeader, type Backing, type RawExtension } from './header'
import { identityOf } from './identity'
import { Extension, HEADER_V2_BYTES } from './layout'

const REPLACED: readonly number[] = [Extension.BACKING_FORMAT, Extension.BACKING_IDENTITY]

/** Extensions that stay. The header was read before, so all of them lie within the cluster. */
function* otherExtensions(first: DataView, start: number): Generator<RawExtension> {
  for (let at = start; at + 8 <= first.byteLength;) {
    const type = first.getUint32(at)
    const length = first.getUint32(at + 4)
    if (type === Extension.END) return
    if (!REPLACED.includes(type)) yield { type, data: new Uint8Array(first.buffer.slice(at + 8, at + 8 + length)) }
    at += 8 + Math.ceil(length / 8) * 8
  }
}

/**
 * @param backing undefined: the one it has, only taken as it is now
 * @returns what it is laid over now
 * @throws VmmError `disk-io` where the backing file is missing, `bad-config` where the image has none and none was given;
 *   DiskFormatError; RangeError where the name does not fit
 */
export function rebaseQcow2(path: string, backing?: Backing): Promise<Backing> {
  return withDiskLock(path, () => rebaseLocked(path, backing))
}

async function rebaseLocked(path: string, backing: Backing | undefined): Promise<Backing> {
  const file = await DiskFile.open(path, false)
  try {
    const header = await readHeader(file)
    const wanted = backing ?? header.backing
    if (!wanted) throw new VmmError('bad-config', `${path} is laid over nothing`, { path })
    const parent = resolve(dirname(path), wanted.path)
    const identity = await identityOf(parent).catch((cause: unknown) => {
      throw new VmmError('disk-io', `${parent} cannot be opened: ${systemCauseOf(cause).detail}`, { path: parent }, { cause })
    })
    const next = { path: wanted.path, format: wanted.format, identity }
    const first = await file.structure('header', 0, Math.min(2 ** header.clusterBits, file.size))
    const fields = header.version === 3 ? first.getUint32(100) : HEADER_V2_BYTES
    const others = [...otherExtensions(first, fields)]
    const bytes = new Uint8Array(2 ** header.clusterBits)
    bytes.set(new Uint8Array(first.buffer))
    putBacking(bytes, fields, next, others)
    const { atime, mtimeMs } = await stat(path)
    await file.write(0, bytes)
    await file.sync()
    // Images laid over this one know it by size and time. What they see of it is as before, so it keeps its time, in whole seconds.
    await utimes(path, atime, Math.floor(mtimeMs / 1000))
    return next
  } finally {
    await file.close()
  }
}

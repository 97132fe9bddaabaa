/** Writes raw images: blocks of zeroes stay holes. */
import { forEachBlock, writeImage, type DiskSource, type WriteOptions } from './write'

/** What is zero in such pieces is not stored. */
const BLOCK_BYTES = 256 << 10

/** @param path of a new file @throws system errors; AbortError */
export async function writeRaw(source: DiskSource, path: string, options: WriteOptions = {}): Promise<void> {
  await writeImage(path, async (out) => {
    await out.growTo(source.sizeBytes)
    await forEachBlock(source, BLOCK_BYTES, options, (index, bytes) => {
      const offset = index * BLOCK_BYTES
      return out.write(offset, bytes.subarray(0, Math.min(bytes.length, source.sizeBytes - offset)))
    })
  })
}

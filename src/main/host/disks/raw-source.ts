/** A raw image as the source of a conversion. */
import { open } from 'node:fs/promises'
import type { DiskSource } from './formats/common/write'
import { Holes } from './holes'

const SECTOR = 512

/** @returns to be closed; a size that is no multiple of 512 is filled up with zeroes. Rejects with Node's system error. */
export async function openRawSource(path: string): Promise<DiskSource & { close(): Promise<void> }> {
  const file = await open(path, 'r')
  const { size } = await file.stat()
  const holes = new Holes(path)
  return {
    sizeBytes: Math.ceil(size / SECTOR) * SECTOR,
    read: async (offset, target) => {
      for (let done = 0; done < target.length;) {
        const { bytesRead } = await file.read(target, done, target.length - done, offset + done)
        if (bytesRead === 0) return void target.fill(0, done)
        done += bytesRead
      }
    },
    extent: (offset, length) => holes.extent(offset, length),
    close: () => file.close(),
  }
}

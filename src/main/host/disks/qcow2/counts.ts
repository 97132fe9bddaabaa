/** Refcounts of every width a qcow2 image can have: 2^order bits, order 0 to 6. */

export const countsPerBlock = (clusterSize: number, order: number): number => (clusterSize * 8) / 2 ** order

/** What a count can be at most. */
export const maxCount = (order: number): number => (order > 5 ? Number.MAX_SAFE_INTEGER : 2 ** 2 ** order - 1)

/** @param index of the cluster within the block */
export function getCount(block: DataView, order: number, index: number): number {
  switch (order) {
    case 3: return block.getUint8(index)
    case 4: return block.getUint16(index * 2)
    case 5: return block.getUint32(index * 4)
    case 6: return Number(block.getBigUint64(index * 8))
    default: return (block.getUint8((index << order) >> 3) >> ((index << order) & 7)) & maxCount(order)
  }
}

export function setCount(block: DataView, order: number, index: number, count: number): void {
  switch (order) {
    case 3: return block.setUint8(index, count)
    case 4: return block.setUint16(index * 2, count)
    case 5: return block.setUint32(index * 4, count)
    case 6: return block.setBigUint64(index * 8, BigInt(count))
    default: {
      // The first count is in the lowest bits.
      const at = (index << order) >> 3
      const shift = (index << order) & 7
      block.setUint8(at, (block.getUint8(at) & ~(maxCount(order) << shift)) | (count << shift))
    }
  }
}

/** Disk images of other programs, for reading: a format says where each piece of the disk is, this reads it. */
import type { ImageFile } from './image-file'

/** Where the disk's bytes from an offset on are, as far as the answer is the same. */
export type Piece =
  /** Nothing stored: zeroes. */
  | { readonly kind: 'zero'; readonly length: number }
  | { readonly kind: 'data'; readonly length: number; readonly file: ImageFile; readonly at: number }
  /** Stored compressed; `load` gives the bytes of this piece. */
  | { readonly kind: 'packed'; readonly length: number; readonly load: () => Promise<Uint8Array> }

/** What a format knows about one image. */
export interface PieceSource {
  /** A multiple of 512. */
  readonly sizeBytes: number
  /** Kind within the format, such as `dynamic` or `streamOptimized`. */
  readonly subformat: string
  readonly files: readonly ImageFile[]
  /** @param offset below `sizeBytes`; the piece may reach past the disk's end. @throws DiskFormatError */
  locate(offset: number): Promise<Piece>
}

/** Largest disk that any of these formats can hold in a sound file: 64 TiB (VHDX). */
export const MAX_DISK_BYTES = 64 * 2 ** 40

export class ForeignImage {
  constructor(readonly format: string, readonly source: PieceSource) {}

  get sizeBytes(): number {
    return this.source.sizeBytes
  }

  get subformat(): string {
    return this.source.subformat
  }

  /** Fills the target from the disk's offset. @throws RangeError past the end; DiskFormatError */
  async read(offset: number, target: Uint8Array): Promise<void> {
    if (offset < 0 || offset + target.length > this.sizeBytes) throw new RangeError(`a read of ${target.length} bytes at ${offset} is not within the disk`)
    for (let done = 0; done < target.length;) {
      const piece = await this.source.locate(offset + done)
      const part = target.subarray(done, done + Math.min(piece.length, target.length - done))
      if (piece.kind === 'zero') part.fill(0)
      else if (piece.kind === 'data') await piece.file.readPadded(piece.at, part)
      else part.set((await piece.load()).subarray(0, part.length))
      done += part.length
    }
  }

  /** How long the range from the offset on is zero because nothing is stored, or else is stored. */
  async extent(offset: number, length: number): Promise<{ readonly length: number; readonly zero: boolean }> {
    const end = Math.min(offset + length, this.sizeBytes)
    const first = await this.source.locate(offset)
    let reached = offset + first.length
    while (reached < end) {
      const next = await this.source.locate(reached)
      if ((next.kind === 'zero') !== (first.kind === 'zero')) break
      reached += next.length
    }
    return { length: Math.min(reached, end) - offset, zero: first.kind === 'zero' }
  }

  async close(): Promise<void> {
    for (const file of this.source.files) await file.close()
  }
}

/** @throws DiskFormatError where no disk has that size */
export function checkDiskSize(file: ImageFile, structure: string, bytes: number): void {
  if (bytes <= 0 || bytes > MAX_DISK_BYTES || bytes % 512 !== 0) {
    throw file.fail(structure, 0, `the disk size of ${bytes} bytes is not a multiple of 512 between 512 bytes and ${MAX_DISK_BYTES / 2 ** 40} TiB`)
  }
}

export const isPowerOfTwo = (value: number): boolean => value > 0 && Number.isInteger(Math.log2(value))

/** Opens the file, lets the format read it, and closes it again where that fails. */
export async function openWith(file: ImageFile, format: string, parse: (file: ImageFile) => Promise<PieceSource>): Promise<ForeignImage> {
  try {
    return new ForeignImage(format, await parse(file))
  } catch (error) {
    await file.close()
    throw error
  }
}

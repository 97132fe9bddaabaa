/** What is wrong with a disk image, where: for people, and for a caller that asks for the code. */
export class DiskFormatError extends Error {
  readonly code = 'bad-disk'
  /** As a VmmError has them. */
  readonly details: Readonly<Record<string, unknown>>

  /** @param structure part of the format, such as `VDI header` @param offset byte in the file where it is, or the structure begins */
  constructor(readonly path: string, readonly structure: string, readonly offset: number, readonly why: string) {
    super(`${path}: ${structure} at byte ${offset}: ${why}`)
    this.name = 'DiskFormatError'
    this.details = { reason: 'diskFormat', path, structure, offset, why }
  }
}

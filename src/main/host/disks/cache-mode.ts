/** How a disk uses the host's cache, with QEMU's names. docs/decisions/0011-qcow2.md says what each promises. */

export const CACHE_MODES = ['writeback', 'writethrough', 'none', 'directsync', 'unsafe'] as const
export type CacheMode = (typeof CACHE_MODES)[number]

export interface CacheBehaviour {
  /** Whole blocks go past the host's cache (O_DIRECT). */
  readonly direct: boolean
  /** A write is answered once it is on stable storage. */
  readonly writeThrough: boolean
  /** A flush waits for the medium. Without, what a power cut leaves is anything. */
  readonly syncs: boolean
}

export const CACHE_BEHAVIOUR: Readonly<Record<CacheMode, CacheBehaviour>> = {
  writeback: { direct: false, writeThrough: false, syncs: true },
  writethrough: { direct: false, writeThrough: true, syncs: true },
  none: { direct: true, writeThrough: false, syncs: true },
  directsync: { direct: true, writeThrough: true, syncs: true },
  unsafe: { direct: false, writeThrough: false, syncs: false },
}

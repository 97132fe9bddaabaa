/** Node's answers to what the core asks of its host. */
export { NodeBackgroundThread } from './background-thread'
export { NodeClock } from './clock'
export { NodeEntropy } from './entropy'
export { collectGarbage, IdleMemory } from './idle-memory'
export { NodeWasmEngine } from './wasm'
export { CACHE_MODES, type CacheMode } from './disks/cache-mode'
export { RawDisk, openRawDisk } from './raw-disk'
export { DISK_FORMATS, diskFormatOf, openDisk, type DiskFormat, type OpenDisk } from './disks/open'

/** Plain numbers of the contract: for programs that should not wait for its schemas. */

export const LIMITS = { nameLength: 64, snapshotNameLength: 128, memoryMinMiB: 16, memoryMaxMiB: 3072, tagLength: 32, tags: 16, disks: 16, diskQueues: 8, notesLength: 4096 } as const

/** What `--disk` and other options that may be repeated are read with. */
import { LIMITS } from '../../preload/contract/limits'
import { CACHE_MODES } from '../host/disks/cache-mode'

/** Of `--disk`, besides the format. */
export const DISK_OPTIONS = `cache=${CACHE_MODES.join('|')}, queues=1...${LIMITS.diskQueues}, readonly`

/** An option that may be repeated. */
export const collect = (value: string, all: readonly string[] | undefined): string[] => [...(all ?? []), value]

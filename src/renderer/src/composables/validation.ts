/** Checks of what the user types, before it is sent; the manager checks again and has the last word. */
import { LIMITS, NAME_PATTERN } from '@contract/index'
import type { DiskSettings, MachineSettings } from '../api/types'

export const NAME_MAX = LIMITS.nameLength
export const MEMORY_MIN_MIB = LIMITS.memoryMinMiB
export const MEMORY_MAX_MIB = LIMITS.memoryMaxMiB

/** A text of `validation.*` with its values. */
export interface Problem {
  readonly key: string
  readonly values?: Record<string, string | number>
}

const problem = (key: string, values?: Record<string, string | number>): Problem => ({ key: `validation.${key}`, values })

/** @param taken names of other machines; compared without regard to case */
export function nameProblem(name: string, taken: readonly string[]): Problem | undefined {
  const trimmed = name.trim()
  if (trimmed === '') return problem('required')
  if (trimmed.length > NAME_MAX) return problem('nameLong', { max: NAME_MAX })
  if (!NAME_PATTERN.test(trimmed)) return problem('nameInvalid')
  const lower = trimmed.toLowerCase()
  return taken.some((other) => other.toLowerCase() === lower) ? problem('nameTaken') : undefined
}

/** @param taken names of the machine's other snapshots */
export function snapshotNameProblem(name: string, taken: readonly string[]): Problem | undefined {
  const trimmed = name.trim()
  if (trimmed === '') return problem('required')
  if (trimmed.length > LIMITS.snapshotNameLength) return problem('nameLong', { max: LIMITS.snapshotNameLength })
  if (!NAME_PATTERN.test(trimmed)) return problem('nameInvalid')
  return taken.some((other) => other.toLowerCase() === trimmed.toLowerCase()) ? problem('snapshotTaken') : undefined
}

export function memoryProblem(memoryMiB: number | undefined): Problem | undefined {
  const isFine = memoryMiB !== undefined && Number.isInteger(memoryMiB) && memoryMiB >= MEMORY_MIN_MIB && memoryMiB <= MEMORY_MAX_MIB
  return isFine ? undefined : problem('memoryRange', { min: MEMORY_MIN_MIB, max: MEMORY_MAX_MIB })
}

/** A full path on Linux, macOS or Windows (`C:\…`, `\\server\…`). */
export function pathProblem(path: string, isRequired: boolean): Problem | undefined {
  const trimmed = path.trim()
  if (trimmed === '') return isRequired ? problem('required') : undefined
  return /^(\/|[a-zA-Z]:[\\/]|\\\\)/.test(trimmed) ? undefined : problem('absolutePath')
}

const isQueueCount = (queues: number | undefined): boolean => queues === undefined || (Number.isInteger(queues) && queues >= 1 && queues <= LIMITS.diskQueues)

/** One entry per disk, in order. */
export function diskProblems(disks: readonly DiskSettings[]): (Problem | undefined)[] {
  return disks.map((disk, index) => {
    const wrongPath = pathProblem(disk.path, true)
    if (wrongPath) return wrongPath
    if (disks.some((other, at) => at < index && other.path.trim() === disk.path.trim())) return problem('duplicateDisk')
    return isQueueCount(disk.queues) ? undefined : problem('queuesRange', { max: LIMITS.diskQueues })
  })
}

export interface SettingsProblems {
  readonly name?: Problem
  readonly memoryMiB?: Problem
  readonly kernel?: Problem
  readonly initrd?: Problem
  readonly disks: readonly (Problem | undefined)[]
}

/** @param isKernelNeeded false when an image brings kernel and initrd */
export function settingsProblems(settings: MachineSettings, taken: readonly string[], isKernelNeeded: boolean): SettingsProblems {
  return {
    name: nameProblem(settings.name, taken),
    memoryMiB: memoryProblem(settings.memoryMiB),
    kernel: isKernelNeeded ? pathProblem(settings.kernel, true) : undefined,
    initrd: isKernelNeeded ? pathProblem(settings.initrd, false) : undefined,
    disks: diskProblems(settings.disks),
  }
}

export const hasProblems = (problems: SettingsProblems): boolean =>
  Boolean(problems.name ?? problems.memoryMiB ?? problems.kernel ?? problems.initrd) || problems.disks.some(Boolean)

/** `base`, or `base 2`, `base 3` … when it is taken. */
export function freeName(base: string, taken: readonly string[]): string {
  const used = new Set(taken.map((name) => name.toLowerCase()))
  if (!used.has(base.toLowerCase())) return base
  let number = 2
  while (used.has(`${base} ${number}`.toLowerCase())) number++
  return `${base} ${number}`
}

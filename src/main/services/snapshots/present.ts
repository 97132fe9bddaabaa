/** What a machine is now, as a snapshot is to keep it. */
import { randomUUID } from 'node:crypto'
import { phrase } from '../../../preload/contract'
import { copyImage } from '../../host/copy-file'
import { ServiceError, writeError } from '../errors'
import type { MachineRuntime } from '../runtime'
import type { MachineRecord, Progress } from '../types'
import { giveName } from './memory'
import type { SnapshotRecord } from './records'
import { SavedState } from './saved-state'
import type { SnapshotStore } from './store'

const AT_REST: readonly string[] = ['stopped', 'crashed', 'saved']
const ON: readonly string[] = ['running', 'paused']

export interface Presence {
  /** It has a process, and its memory is there. */
  readonly isOn: boolean
  /** It has memory, there or in a saved state. */
  readonly hasState: boolean
}

/** @throws ServiceError wrong-state where it is between two states */
export function presenceOf(runtime: MachineRuntime, { id, settings: { name } }: MachineRecord): Presence {
  const { state } = runtime.status(id)
  const isOn = ON.includes(state)
  if (isOn || AT_REST.includes(state)) return { isOn, hasState: isOn || state === 'saved' }
  throw new ServiceError('wrong-state', phrase('snapshot.notNow', { name, state: phrase(`state.${state}`) }), { state })
}

/** A snapshot that is to be taken now. @throws as `presenceOf` */
export async function plannedSnapshot(runtime: MachineRuntime, record: MachineRecord, store: SnapshotStore): Promise<Omit<SnapshotRecord, 'name' | 'notes' | 'kind'>> {
  const { hasState } = presenceOf(runtime, record)
  const settings = runtime.settingsOf(record.id) ?? record.settings
  const disks = settings.disks.filter(({ readOnly }) => !readOnly).map(({ path }, i) => ({ path, file: `disk${i}.img` }))
  return { version: 1, id: randomUUID(), createdAt: new Date().toISOString(), parent: await store.current(), hasState, settings, disks }
}

export interface DiskCopy {
  readonly from: string
  readonly to: string
}

/** Of a machine that has no process: nothing changes meanwhile. @param stateTo undefined: it has none @throws ServiceError disk-full, file-missing, …; AbortError */
export async function copyAtRest({ dir }: MachineRecord, copies: readonly DiskCopy[], stateTo: string | undefined, progress: Progress): Promise<void> {
  for (const [i, { from, to }] of copies.entries()) {
    const onProgress = (done: number, total: number): void => progress.report((i + done / Math.max(1, total)) / copies.length)
    await copyImage(from, to, { signal: progress.signal, onProgress }).catch((error: unknown) => {
      progress.signal.throwIfAborted()
      throw writeError(error, to)
    })
  }
  if (stateTo !== undefined) await giveName(new SavedState(dir).path, stateTo)
}

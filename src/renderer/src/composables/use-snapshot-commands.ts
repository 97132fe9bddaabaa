/** Carries out what is asked of snapshots and tells what became of it. */
import { LIMITS } from '@contract/index'
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import type { RestoreOptions } from '../api/api'
import { toApiError } from '../api/errors'
import type { Machine, Snapshot } from '../api/types'
import { useSnapshotsStore } from '../stores/snapshots'
import { useErrorText } from './use-error-text'
import type { Notices } from './use-notices'
import { useQuestions } from './use-questions'

export interface SnapshotCommands {
  /** Rejects when the manager refuses: the dialog says why and stays. */
  take(machine: Machine, name: string, notes: string): Promise<Snapshot>
  /** Rejects as `take` does. */
  change(machine: Machine, snapshot: Snapshot, name: string, notes: string): Promise<void>
  /** What is there now is kept, and the toast offers to bring it back. */
  restore(machine: Machine, snapshot: Snapshot): Promise<void>
  /** Asks first: what a snapshot holds is gone with it. */
  remove(machine: Machine, snapshot: Pick<Snapshot, 'id' | 'name'>): Promise<void>
}

const isOfState = (error: unknown): boolean => ['state-damaged', 'state-mismatch'].includes(toApiError(error).code)
const isOn = ({ state }: Pick<Machine, 'state'>): boolean => state === 'running' || state === 'paused'

/** Goes back; what was there is brought back again where that is asked. */
function useRestore(notices: Notices): SnapshotCommands['restore'] {
  const { t } = useI18n()
  const api = useApi()
  const store = useSnapshotsStore()
  const ask = useQuestions()
  const textOf = useErrorText()

  /** As it was before the restore: the machine, whether it ran, and the tree. */
  async function undo(machine: Machine, undoId: string): Promise<void> {
    await api.restoreSnapshot(machine.id, undoId, { keepCurrent: false, start: isOn(machine) })
    await api.deleteSnapshot(machine.id, undoId)
    await store.load(machine.id)
    notices.success(() => t('snapshot.undone'))
  }

  async function goBack(machine: Machine, snapshot: Snapshot, options: RestoreOptions): Promise<void> {
    const undoName = t('snapshot.before', { name: snapshot.name }).slice(0, LIMITS.snapshotNameLength)
    const undoId = await api.restoreSnapshot(machine.id, snapshot.id, { ...options, undoName })
    await store.load(machine.id)
    notices.success(() => t('snapshot.restored', { machine: machine.name, name: snapshot.name }), undoId === null ? undefined : {
      label: () => t('common.undo'),
      run: () => void undo(machine, undoId).catch((error: unknown) => notices.error(error, machine.name)),
    })
  }

  /** The memory cannot be used: the disks are there all the same. */
  async function offerDisks(machine: Machine, snapshot: Snapshot, error: unknown): Promise<void> {
    const { message } = textOf(error)
    if (!await ask({ title: t('snapshot.memoryTitle', { name: snapshot.name }), text: `${message} ${t('snapshot.memoryText')}`, agree: t('snapshot.restoreDisks') })) return
    await goBack(machine, snapshot, { keepCurrent: true, start: isOn(machine), withState: false }).catch((again: unknown) => notices.error(again, snapshot.name))
  }

  return async (machine, snapshot) => {
    try {
      await goBack(machine, snapshot, { keepCurrent: true, start: snapshot.hasState || isOn(machine) })
    } catch (error) {
      if (!isOfState(error)) return notices.error(error, snapshot.name)
      await offerDisks(machine, snapshot, error)
    }
  }
}

export function useSnapshotCommands(notices: Notices): SnapshotCommands {
  const { t } = useI18n()
  const api = useApi()
  const store = useSnapshotsStore()
  const ask = useQuestions()
  const restore = useRestore(notices)

  return {
    async take(machine, name, notes) {
      const taken = await api.takeSnapshot(machine.id, { ...(name === '' ? {} : { name }), notes })
      await store.load(machine.id)
      notices.success(() => t('snapshot.taken', { name: taken.name }))
      return taken
    },

    async change(machine, snapshot, name, notes) {
      await api.changeSnapshot(machine.id, snapshot.id, { name, notes })
      await store.load(machine.id)
    },

    restore,

    async remove(machine, snapshot) {
      if (!await ask({ title: t('snapshot.deleteTitle', { name: snapshot.name }), text: t('snapshot.deleteText'), agree: t('snapshot.delete'), isDangerous: true })) return
      try {
        await api.deleteSnapshot(machine.id, snapshot.id)
        await store.load(machine.id)
        notices.success(() => t('snapshot.deleted', { name: snapshot.name }))
      } catch (error) {
        notices.error(error, snapshot.name)
      }
    },
  }
}

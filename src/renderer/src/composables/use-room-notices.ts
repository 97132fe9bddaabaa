/** Tells of machines that stand because a disk found no room on the host, for as long as they do. */
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import type { Machine } from '../api/types'
import type { Notices } from './use-notices'

export interface RoomNotices {
  /** A machine as it is now. */
  watch(machine: Machine): void
  close(): void
}

export function useRoomNotices(notices: Notices): RoomNotices {
  const { t } = useI18n()
  const api = useApi()
  /** What closes the notice of a machine. */
  const open = new Map<string, () => void>()

  function resume({ id, name }: Machine): void {
    open.delete(id)
    api.resume(id).catch((error: unknown) => notices.error(error, name))
  }

  return {
    watch(machine) {
      const { id, name, waitsFor } = machine
      if (!waitsFor) {
        open.get(id)?.()
        open.delete(id)
      } else if (!open.has(id)) {
        const action = { label: () => t('action.resume'), run: () => resume(machine) }
        open.set(id, notices.warning(() => t('notice.hostDiskFull', { name }), () => t('notice.hostDiskFullText', { path: waitsFor.path }), action, true))
      }
    },
    close: () => open.forEach((close) => close()),
  }
}

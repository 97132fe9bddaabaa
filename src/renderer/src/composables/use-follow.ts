/** Loads everything once, follows the manager's events, loads again after a lost connection, and reports crashes and machines that wait for room. */
import { onBeforeUnmount, onMounted, ref, type Ref } from 'vue'
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import type { Machine, MachineState } from '../api/types'
import { useFiguresStore } from '../stores/figures'
import { isActive } from '../stores/machine-groups'
import { useMachinesStore } from '../stores/machines'
import { usePreferencesStore } from '../stores/preferences'
import { useTasksStore } from '../stores/tasks'
import { useTrashStore } from '../stores/trash'
import type { Notices } from './use-notices'
import { useRoomNotices } from './use-room-notices'
import { sentence, useSaid } from './use-said'

export interface Follow {
  readonly isConnected: Ref<boolean>
  /** The last change of a machine's state, in words, for those who do not see it. */
  readonly announcement: Ref<string>
}

interface StateNews extends Pick<Follow, 'announcement'> {
  /** The machine may be in another state than it was. */
  watchState(machine: Machine): void
  /** How things stand: nothing to tell. */
  begin(machines: readonly Machine[]): void
  close(): void
}

function useStateNews(notices: Notices, openLog: (machine: Machine) => void): StateNews {
  const { t } = useI18n()
  const said = useSaid()
  const figures = useFiguresStore()
  const announcement = ref('')
  const states = new Map<string, MachineState>()
  const room = useRoomNotices(notices)

  /** Changes are announced. A crash is told once, when it happens; not for machines found crashed at start. */
  function watchState(machine: Machine): void {
    const before = states.get(machine.id)
    states.set(machine.id, machine.state)
    if (!isActive(machine)) figures.forget(machine.id)
    room.watch(machine)
    if (before !== undefined && before !== machine.state) announcement.value = t('list.stateOf', { name: machine.name, state: t(`state.${machine.state}`) })
    if (machine.state !== 'crashed' || before === undefined || before === 'crashed') return
    notices.warning(() => t('notice.crashed', { name: machine.name }), () => t('notice.crashedText', { detail: sentence(said(machine.problem)) }),
      { label: () => t('notice.openLog'), run: () => openLog(machine) })
  }

  function begin(machines: readonly Machine[]): void {
    for (const machine of machines) {
      states.set(machine.id, machine.state)
      room.watch(machine)
    }
  }

  return { announcement, watchState, begin, close: room.close }
}

/** @param openLog shows a machine's log */
export function useFollow(notices: Notices, openLog: (machine: Machine) => void): Follow {
  const api = useApi()
  const machines = useMachinesStore()
  const figures = useFiguresStore()
  const tasks = useTasksStore()
  const trash = useTrashStore()
  const preferences = usePreferencesStore()
  const isConnected = ref(true)
  const stops: (() => void)[] = []
  const news = useStateNews(notices, openLog)

  async function load(): Promise<void> {
    await Promise.all([machines.load(), tasks.load(), trash.load(), preferences.load()])
    news.begin(machines.all)
  }

  function reload(): void {
    load().catch((error: unknown) => notices.error(error))
  }

  onMounted(() => {
    stops.push(
      machines.follow(), figures.follow(), tasks.follow(), trash.follow(), preferences.follow((error) => notices.error(error)), api.onMachine(news.watchState),
      api.onConnection((isUp) => {
        if (isUp && !isConnected.value) reload()
        isConnected.value = isUp
      }),
    )
    reload()
  })
  onBeforeUnmount(() => [...stops, news.close].forEach((stop) => stop()))
  return { isConnected, announcement: news.announcement }
}

/** Carries out actions on machines and tells what became of them: one toast for one machine, a count for many. */
import { useI18n } from 'vue-i18n'
import type { CreateSource } from '../api/api'
import { useApi } from '../api/current'
import type { Machine, MachineSettings } from '../api/types'
import { isActive } from '../stores/machine-groups'
import { useMachinesStore } from '../stores/machines'
import { useSelectionStore } from '../stores/selection'
import { useTrashStore } from '../stores/trash'
import { canDo, type ActionName } from './machine-actions'
import type { Notices } from './use-notices'
import { useQuestions } from './use-questions'

/** Actions that only need a call to the manager. */
export type DirectAction = Extract<ActionName, 'start' | 'pause' | 'resume' | 'powerOff' | 'forceStop' | 'reset' | 'suspend' | 'startFresh' | 'discardSaved' | 'releaseTemplate'>

const DIRECT: ReadonlySet<ActionName> = new Set<DirectAction>(['start', 'pause', 'resume', 'powerOff', 'forceStop', 'reset', 'suspend', 'startFresh', 'discardSaved', 'releaseTemplate'])
export const isDirect = (action: ActionName): action is DirectAction => DIRECT.has(action)

/** What the guest has in memory is lost by these, and nothing brings it back. */
const LOSES_MEMORY: ReadonlySet<DirectAction> = new Set<DirectAction>(['forceStop', 'reset', 'startFresh', 'discardSaved'])

export interface MachineCommands {
  /** Does it to every machine whose state allows it; asks first where something would be lost. */
  act(action: DirectAction, machines: readonly Machine[]): Promise<void>
  /** Moves to the trash; asks only where a running machine would be stopped. */
  remove(machines: readonly Machine[]): Promise<void>
  /** Rejects when the manager refuses: the dialog says why and stays. */
  rename(machine: Machine, name: string): Promise<void>
  /** Rejects as `rename` does. */
  save(machine: Machine, settings: MachineSettings): Promise<void>
  /** Rejects as `rename` does. That it was made but did not start is told, and no failure. */
  create(source: CreateSource, settings: MachineSettings, startNow: boolean): Promise<Machine>
}

/** Runs `work` for each; errors are shown one by one, so that each machine's result is known. */
function useEach(notices: Notices): (machines: readonly Machine[], work: (machine: Machine) => Promise<void>) => Promise<number> {
  const { t } = useI18n()
  return async (machines, work) => {
    const results = await Promise.allSettled(machines.map(work))
    let failed = 0
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') return
      failed++
      notices.error(result.reason, machines[index].name)
    })
    if (machines.length > 1 && failed > 0) notices.warning(() => t('bulk.result', { done: machines.length - failed, failed }), '')
    return machines.length - failed
  }
}

interface LossQuestions {
  mayStop(running: readonly Machine[], total: number): Promise<boolean>
  mayLose(action: DirectAction, machines: readonly Machine[]): Promise<boolean>
}

function useLossQuestions(): LossQuestions {
  const { t } = useI18n()
  const ask = useQuestions()

  async function mayStop(running: readonly Machine[], total: number): Promise<boolean> {
    if (running.length === 0) return true
    const text = total === 1 ? t('delete.running', { name: running[0].name }) : t('delete.runningMany', { count: running.length }, running.length)
    return ask({ title: t('delete.title'), text, agree: t('delete.confirm'), isDangerous: true })
  }

  async function mayLose(action: DirectAction, machines: readonly Machine[]): Promise<boolean> {
    if (!LOSES_MEMORY.has(action) || machines.length === 0) return true
    const subject = machines.length === 1 ? machines[0].name : t('list.selected', { count: machines.length })
    return ask({ title: `${t(`action.${action}`)} – ${subject}`, text: t(`confirm.${action}`), agree: t(`action.${action}`), isDangerous: true })
  }

  return { mayStop, mayLose }
}

/** To the trash, and back where that is taken back. */
function useRemoval(notices: Notices): MachineCommands['remove'] {
  const { t } = useI18n()
  const api = useApi()
  const machinesStore = useMachinesStore()
  const selection = useSelectionStore()
  const trash = useTrashStore()
  const each = useEach(notices)
  const { mayStop } = useLossQuestions()

  function undo(trashIds: readonly string[]): void {
    void Promise.all(trashIds.map(async (id) => {
      const machine = await trash.restore(id)
      machinesStore.put(machine)
      selection.select(machine.id, 'single', [machine.id])
    })).catch((error: unknown) => notices.error(error))
  }

  return async (machines) => {
    if (!await mayStop(machines.filter(isActive), machines.length)) return
    const trashIds: string[] = []
    const done = await each(machines, async (machine) => {
      if (isActive(machine)) await api.forceStop(machine.id)
      trashIds.push(await api.remove(machine.id))
      machinesStore.drop(machine.id)
    })
    await trash.load().catch(() => undefined)
    if (done === 0) return
    const title = (): string => machines.length === 1 ? t('delete.done', { name: machines[0].name }) : t('delete.doneMany', { count: done })
    notices.success(title, { label: () => t('common.undo'), run: () => undo(trashIds) })
  }
}

export function useMachineCommands(notices: Notices): MachineCommands {
  const { t } = useI18n()
  const api = useApi()
  const machinesStore = useMachinesStore()
  const selection = useSelectionStore()
  const each = useEach(notices)
  const { mayLose } = useLossQuestions()
  const remove = useRemoval(notices)

  return {
    async act(action, machines) {
      const able = machines.filter((machine) => canDo(action, machine))
      if (!await mayLose(action, able)) return
      await each(able, async (machine) => {
        if (action === 'releaseTemplate') machinesStore.put(await api.releaseTemplate(machine.id))
        else await (action === 'resume' && machine.state === 'saved' ? api.start(machine.id) : api[action](machine.id))
      })
    },

    remove,

    async rename(machine, name) {
      machinesStore.put(await api.update(machine.id, { name }))
    },

    async save(machine, settings) {
      machinesStore.put(await api.update(machine.id, settings))
      notices.success(() => t('settings.saved'))
    },

    async create(source, settings, startNow) {
      const machine = await api.create(source, settings)
      machinesStore.put(machine)
      selection.select(machine.id, 'single', [machine.id])
      if (startNow) await api.start(machine.id).catch((error: unknown) => notices.error(error, machine.name))
      return machine
    },
  }
}

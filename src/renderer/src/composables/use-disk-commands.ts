/** Carries out what is asked of disk images and tells what became of it; asks first where it cannot be undone. */
import { ElMessageBox } from 'element-plus'
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import { toApiError } from '../api/errors'
import type { Disk, DiskCheck } from '../api/types'
import { useFilePickerStore } from '../stores/file-picker'
import { useErrorText } from './use-error-text'
import { useFormat } from './use-format'
import type { Notices } from './use-notices'
import { useQuestions } from './use-questions'

export interface DiskCommands {
  /** Offers to repair what can be. */
  check(disk: Disk): Promise<void>
  repair(disk: Disk): Promise<void>
  compact(disk: Disk): Promise<void>
  grow(disk: Disk): Promise<void>
  /** Asks where the file is that the image `layer` lies over. @param known where it was */
  locate(layer: string, known: string | undefined): Promise<void>
  /** Takes the file as it is now, though it was changed since. */
  accept(layer: string, problem: string): Promise<void>
}

const GIB = 2 ** 30
const MAX_GIB = 65_536

/** The file's name, of a path of any system. */
export const fileName = (path: string): string => path.split(/[\\/]/).pop() ?? path

/** @param changed called when a disk is another one than before */
export function useDiskCommands(notices: Notices, changed: () => Promise<void>): DiskCommands {
  const { t } = useI18n()
  const textOf = useErrorText()
  const api = useApi()
  const format = useFormat()
  const picker = useFilePickerStore()
  const ask = useQuestions()

  async function told(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (toApiError(error).code !== 'cancelled') notices.error(error, fileName(path))
    } finally {
      await changed()
    }
  }

  const mayUseOther = (problem: string): Promise<boolean> =>
    ask({ title: t('disk.otherTitle'), text: `${problem} ${t('disk.otherText')}`, agree: t('disk.useAnyway'), isDangerous: true })

  function tellCheck(disk: Disk, { corruptions, wastedBytes, problems }: DiskCheck): void {
    const name = fileName(disk.path)
    const action = { label: t('disk.repair'), run: () => void repair(disk) }
    if (corruptions > 0) notices.warning(t('disk.damaged', { name, count: corruptions }, corruptions), problems.slice(0, 3).join(' '), action)
    else if (wastedBytes > 0) notices.warning(t('disk.sound', { name }), t('disk.wasted', { size: format.value.bytes(wastedBytes) }), action)
    else notices.success(t('disk.sound', { name }))
  }

  async function repair(disk: Disk): Promise<void> {
    const name = fileName(disk.path)
    if (!await ask({ title: t('disk.repairTitle', { name }), text: t('disk.repairText'), agree: t('disk.repair'), isDangerous: true })) return
    await told(disk.path, async () => {
      const { corruptions, problems } = await api.repairDisk(disk.path)
      if (corruptions > 0) notices.warning(t('disk.notRepaired', { name, count: corruptions }, corruptions), problems.slice(0, 3).join(' '))
      else notices.success(t('disk.repaired', { name }))
    })
  }

  async function rebase(layer: string, backing: string | undefined, acceptChange: boolean): Promise<void> {
    const { layers } = await api.rebaseDisk(layer, { ...(backing === undefined ? {} : { backing }), acceptChange })
    notices.success(t('disk.located', { name: fileName(layer), base: layers[1]?.path ?? '' }))
  }

  return {
    check: (disk) => told(disk.path, async () => tellCheck(disk, await api.checkDisk(disk.path))),
    repair,

    async compact(disk) {
      const name = fileName(disk.path)
      if (!await ask({ title: t('disk.compactTitle', { name }), text: t('disk.compactText'), agree: t('disk.compact') })) return
      await told(disk.path, async () => {
        const { before, after } = await api.compactDisk(disk.path)
        notices.success(before > after ? t('disk.compacted', { name, size: format.value.bytes(before - after) }) : t('disk.compactNothing', { name }))
      })
    },

    async grow(disk) {
      const name = fileName(disk.path)
      const now = (disk.layers[0].sizeBytes ?? 0) / GIB
      const asked = await ElMessageBox.prompt(t('disk.growText'), t('disk.growTitle', { name }), {
        confirmButtonText: t('disk.growButton'), cancelButtonText: t('common.cancel'), inputType: 'number', inputValue: String(Math.ceil(now * 2)),
        inputValidator: (value) => (Number(value) > now && Number(value) <= MAX_GIB) || t('disk.growRange', { min: format.value.number(now, 2), max: format.value.number(MAX_GIB) }),
      }).then(({ value }) => Number(value), () => undefined)
      if (asked === undefined) return
      await told(disk.path, async () => {
        const { layers } = await api.growDisk(disk.path, Math.round(asked * 1024) * (GIB / 1024))
        notices.success(t('disk.grown', { name, size: format.value.bytes(layers[0].sizeBytes ?? 0) }))
      })
    },

    async locate(layer, known) {
      await told(layer, async () => {
        const backing = await picker.pick({ mode: 'open', title: t('disk.locateTitle', { name: known ? fileName(known) : fileName(layer) }), path: known ?? layer })
        if (backing === undefined) return
        try {
          await rebase(layer, backing, false)
        } catch (error) {
          const { code, details } = toApiError(error)
          const isOther = code === 'bad-disk' && typeof details === 'object' && details !== null && 'change' in details
          if (!isOther) throw error
          if (await mayUseOther(textOf(error).message)) await rebase(layer, backing, true)
        }
      })
    },

    async accept(layer, problem) {
      if (!await mayUseOther(problem)) return
      await told(layer, () => rebase(layer, undefined, true))
    },
  }
}

/** Carries out what is asked of disk images and tells what became of it; asks first where it cannot be undone. */
import { ElMessageBox } from 'element-plus'
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import { toApiError } from '../api/errors'
import type { Disk, DiskCheck } from '../api/types'
import { fileName } from './file-name'
import { useDiskBases, type DiskBases } from './use-disk-bases'
import { useFormat } from './use-format'
import type { Notices } from './use-notices'
import { useQuestions } from './use-questions'

export interface DiskCommands extends DiskBases {
  /** Offers to repair what can be. */
  check(disk: Disk): Promise<void>
  repair(disk: Disk): Promise<void>
  compact(disk: Disk): Promise<void>
  grow(disk: Disk): Promise<void>
}

const GIB = 2 ** 30
const MAX_GIB = 65_536

/** The new size in GiB; undefined where none was given. */
function useSizeQuestion(): (name: string, nowGib: number) => Promise<number | undefined> {
  const { t } = useI18n()
  const format = useFormat()
  return (name, now) => ElMessageBox.prompt(t('disk.growText'), t('disk.growTitle', { name }), {
    confirmButtonText: t('disk.growButton'), cancelButtonText: t('common.cancel'), inputType: 'number', inputValue: String(Math.ceil(now * 2)),
    inputValidator: (value) => (Number(value) > now && Number(value) <= MAX_GIB) || t('disk.growRange', { min: format.value.number(now, 2), max: format.value.number(MAX_GIB) }),
  }).then(({ value }) => Number(value), () => undefined)
}

/** @param told does the work on an image, and tells what went wrong with it */
function useDiskCheck(notices: Notices, told: (path: string, work: () => Promise<void>) => Promise<void>): Pick<DiskCommands, 'check' | 'repair'> {
  const { t } = useI18n()
  const api = useApi()
  const format = useFormat()
  const ask = useQuestions()

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

  return { check: (disk) => told(disk.path, async () => tellCheck(disk, await api.checkDisk(disk.path))), repair }
}

/** @param changed called when a disk is another one than before */
export function useDiskCommands(notices: Notices, changed: () => Promise<void>): DiskCommands {
  const { t } = useI18n()
  const api = useApi()
  const format = useFormat()
  const ask = useQuestions()
  const askSize = useSizeQuestion()

  async function told(path: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (toApiError(error).code !== 'cancelled') notices.error(error, fileName(path))
    } finally {
      await changed()
    }
  }

  return {
    ...useDiskCheck(notices, told),

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
      const asked = await askSize(name, (disk.layers[0].sizeBytes ?? 0) / GIB)
      if (asked === undefined) return
      await told(disk.path, async () => {
        const { layers } = await api.growDisk(disk.path, Math.round(asked * 1024) * (GIB / 1024))
        notices.success(t('disk.grown', { name, size: format.value.bytes(layers[0].sizeBytes ?? 0) }))
      })
    },

    ...useDiskBases(notices, told),
  }
}

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
  /** Asks for the size, and once more where something would be cut off. */
  resize(disk: Disk): Promise<void>
}

const GIB = 2 ** 30
const MAX_GIB = 65_536

/** The new size in bytes; undefined where none was given. */
function useSizeQuestion(): (name: string, now: number) => Promise<number | undefined> {
  const { t } = useI18n()
  const format = useFormat()
  // As fine as a person can say it in GiB.
  const bytesOf = (gib: string): number => Math.round(Number(gib) * 1024) * (GIB / 1024)
  return (name, now) => ElMessageBox.prompt(t('disk.resizeText', { size: format.value.bytes(now) }), t('disk.resizeTitle', { name }), {
    confirmButtonText: t('disk.resizeButton'), cancelButtonText: t('common.cancel'), inputType: 'number', inputValue: String(Math.ceil(now / GIB * 2)),
    inputValidator: (value) => {
      const bytes = bytesOf(value)
      return (bytes > 0 && bytes !== now && bytes <= MAX_GIB * GIB) || t('disk.resizeRange', { max: format.value.number(MAX_GIB) })
    },
  }).then(({ value }) => bytesOf(value), () => undefined)
}

/** Changes sizes. @param told as for checks */
function useDiskResize(notices: Notices, told: (path: string, work: () => Promise<void>) => Promise<void>): Pick<DiskCommands, 'resize'> {
  const { t } = useI18n()
  const api = useApi()
  const format = useFormat()
  const ask = useQuestions()
  const askSize = useSizeQuestion()

  /** What is lost is named: how much, from where on, and whose it is. */
  function mayCut({ path, usedBy }: Disk, now: number, size: number): Promise<boolean> {
    const [name, lost] = [fileName(path), format.value.bytes(now - size)]
    const users = usedBy.length > 0 ? t('disk.shrinkUsers', { names: usedBy.map((user) => user.name).join(', ') }) : ''
    return ask({
      title: t('disk.shrinkTitle', { name, lost }), text: t('disk.shrinkText', { size: format.value.bytes(size), users }).trim(), agree: t('disk.shrink', { lost }), isDangerous: true,
    })
  }

  return {
    async resize(disk) {
      const name = fileName(disk.path)
      const now = disk.layers[0].sizeBytes ?? 0
      const size = await askSize(name, now)
      if (size === undefined || (size < now && !await mayCut(disk, now, size))) return
      await told(disk.path, async () => {
        const { layers } = await api.resizeDisk(disk.path, size, size < now)
        notices.success(() => t('disk.resized', { name, size: format.value.bytes(layers[0].sizeBytes ?? 0) }))
      })
    },
  }
}

/** @param told does the work on an image, and tells what went wrong with it */
function useDiskCheck(notices: Notices, told: (path: string, work: () => Promise<void>) => Promise<void>): Pick<DiskCommands, 'check' | 'repair'> {
  const { t } = useI18n()
  const api = useApi()
  const format = useFormat()
  const ask = useQuestions()

  function tellCheck(disk: Disk, { corruptions, wastedBytes, problems }: DiskCheck): void {
    const name = fileName(disk.path)
    const action = { label: () => t('disk.repair'), run: () => void repair(disk) }
    if (corruptions > 0) notices.warning(() => t('disk.damaged', { name, count: corruptions }, corruptions), problems.slice(0, 3).join(' '), action)
    else if (wastedBytes > 0) notices.warning(() => t('disk.sound', { name }), () => t('disk.wasted', { size: format.value.bytes(wastedBytes) }), action)
    else notices.success(() => t('disk.sound', { name }))
  }

  async function repair(disk: Disk): Promise<void> {
    const name = fileName(disk.path)
    if (!await ask({ title: t('disk.repairTitle', { name }), text: t('disk.repairText'), agree: t('disk.repair'), isDangerous: true })) return
    await told(disk.path, async () => {
      const { corruptions, problems } = await api.repairDisk(disk.path)
      if (corruptions > 0) notices.warning(() => t('disk.notRepaired', { name, count: corruptions }, corruptions), problems.slice(0, 3).join(' '))
      else notices.success(() => t('disk.repaired', { name }))
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
        notices.success(() => before > after ? t('disk.compacted', { name, size: format.value.bytes(before - after) }) : t('disk.compactNothing', { name }))
      })
    },

    ...useDiskResize(notices, told),
    ...useDiskBases(notices, told),
  }
}

/** What disk images lie over: found again where it was moved, taken as it is where it was changed. */
import { useI18n } from 'vue-i18n'
import { useApi } from '../api/current'
import { toApiError } from '../api/errors'
import { useFilePickerStore } from '../stores/file-picker'
import { fileName } from './file-name'
import { useErrorText } from './use-error-text'
import type { Notices } from './use-notices'
import { useQuestions } from './use-questions'

export interface DiskBases {
  /** Asks where the file is that the image `layer` lies over. @param known where it was */
  locate(layer: string, known: string | undefined): Promise<void>
  /** Takes the file as it is now, though it was changed since. */
  accept(layer: string, problem: string): Promise<void>
}

/** @param told does the work on an image, and tells what went wrong with it */
export function useDiskBases(notices: Notices, told: (path: string, work: () => Promise<void>) => Promise<void>): DiskBases {
  const { t } = useI18n()
  const textOf = useErrorText()
  const api = useApi()
  const picker = useFilePickerStore()
  const ask = useQuestions()

  const mayUseOther = (problem: string): Promise<boolean> =>
    ask({ title: t('disk.otherTitle'), text: `${problem} ${t('disk.otherText')}`, agree: t('disk.useAnyway'), isDangerous: true })

  async function rebase(layer: string, backing: string | undefined, acceptChange: boolean): Promise<void> {
    const { layers } = await api.rebaseDisk(layer, { ...(backing === undefined ? {} : { backing }), acceptChange })
    notices.success(() => t('disk.located', { name: fileName(layer), base: layers[1]?.path ?? '' }))
  }

  return {
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

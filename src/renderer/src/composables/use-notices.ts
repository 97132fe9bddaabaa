/** Toasts: what happened and, for errors, what to do about it. */
import { ElButton, ElNotification } from 'element-plus'
import { h, type VNode } from 'vue'
import { useI18n } from 'vue-i18n'
import { closeInTime } from './notice-time'
import { useErrorText } from './use-error-text'

export interface NoticeAction {
  readonly label: string
  readonly run: () => void
}

export interface Notices {
  success(title: string, action?: NoticeAction): void
  /** @param stays until it is closed @returns closes it */
  warning(title: string, text: string, action?: NoticeAction, stays?: boolean): () => void
  /** @param subject what it was about, a machine's name for example */
  error(error: unknown, subject?: string): void
}

const SHORT_MS = 4_000
const WITH_ACTION_MS = 9_000
const ERROR_MS = 14_000

/** Toasts in the language in use. Call in a component's setup. */
export function useNotices(): Notices {
  const { t } = useI18n()
  const textOf = useErrorText()

  function show(type: 'success' | 'warning' | 'error', title: string, lines: readonly string[], duration: number, action?: NoticeAction): () => void {
    const button = action && h(ElButton, {
      size: 'small',
      class: 'notice-action',
      onClick: () => {
        notice.close()
        action.run()
      },
    }, () => action.label)
    let stopTime = (): void => undefined
    const onVnodeMounted = ({ el }: VNode): void => {
      const toast = (el as HTMLElement).closest<HTMLElement>('.el-notification')
      if (toast) stopTime = closeInTime(toast, duration, () => notice.close())
    }
    const text = lines.filter(Boolean).map((line, index) => h('p', { class: index === 0 ? 'what' : 'advice' }, line))
    const notice = ElNotification({
      type,
      title,
      message: h('div', { role: type === 'error' ? 'alert' : 'status', onVnodeMounted, onVnodeUnmounted: () => stopTime() }, [text, button]),
      // Its own time runs on under the focus.
      duration: 0,
      position: 'bottom-right',
      customClass: `notice notice-${type}`,
    })
    return () => notice.close()
  }

  return {
    success: (title, action) => void show('success', title, [], action ? WITH_ACTION_MS : SHORT_MS, action),
    warning: (title, text, action, stays = false) => show('warning', title, [text], stays ? 0 : ERROR_MS, action),
    error(raw, subject) {
      const { title, message, advice } = textOf(raw)
      show('error', subject ? t('notice.about', { subject, what: title }) : title, [message, advice], ERROR_MS)
    },
  }
}

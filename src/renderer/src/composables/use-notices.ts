/** Toasts: what happened and, for errors, what to do about it. */
import { ElButton, ElNotification } from 'element-plus'
import { h } from 'vue'
import { useI18n } from 'vue-i18n'
import { toApiError } from '../api/errors'

export interface NoticeAction {
  readonly label: string
  readonly run: () => void
}

export interface Notices {
  success(title: string, action?: NoticeAction): void
  warning(title: string, text: string, action?: NoticeAction): void
  /** @param subject what it was about, a machine's name for example */
  error(error: unknown, subject?: string): void
}

const SHORT_MS = 4_000
const WITH_ACTION_MS = 9_000
const ERROR_MS = 14_000

/** Toasts in the language in use. Call in a component's setup. */
export function useNotices(): Notices {
  const { t, te } = useI18n()

  function show(type: 'success' | 'warning' | 'error', title: string, text: string, duration: number, action?: NoticeAction): void {
    const button = action && h(ElButton, {
      size: 'small',
      class: 'notice-action',
      onClick: () => {
        notice.close()
        action.run()
      },
    }, () => action.label)
    const notice = ElNotification({
      type,
      title,
      message: h('div', { role: type === 'error' ? 'alert' : 'status' }, [text && h('p', text), button]),
      duration,
      position: 'bottom-right',
      customClass: `notice notice-${type}`,
    })
  }

  return {
    success: (title, action) => show('success', title, '', action ? WITH_ACTION_MS : SHORT_MS, action),
    warning: (title, text, action) => show('warning', title, text, ERROR_MS, action),
    error(raw, subject) {
      const error = toApiError(raw)
      const advice = `error.${error.code}`
      const title = te(`${advice}.title`) ? t(`${advice}.title`) : t('notice.unexpected')
      const what = te(`${advice}.advice`) ? t(`${advice}.advice`) : t('notice.code', { code: error.code })
      show('error', subject ? `${subject}: ${title}` : title, [error.message, what].filter(Boolean).join(' — '), ERROR_MS)
    },
  }
}

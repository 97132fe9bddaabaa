/** Toasts: what happened and, for errors, what to do about it. */
import { ElButton, ElNotification } from 'element-plus'
import { h, watch, type Ref, type VNode } from 'vue'
import { useI18n } from 'vue-i18n'
import { closeInTime } from './notice-time'
import { useErrorText } from './use-error-text'

/** As a function it follows the language while it is shown. */
export type NoticeText = string | (() => string)

export interface NoticeAction {
  readonly label: NoticeText
  readonly run: () => void
}

export interface Notices {
  success(title: NoticeText, action?: NoticeAction): void
  /** @param stays until it is closed @returns closes it */
  warning(title: NoticeText, text: NoticeText, action?: NoticeAction, stays?: boolean): () => void
  /** @param subject what it was about, a machine's name for example */
  error(error: unknown, subject?: string): void
}

const said = (text: NoticeText): string => (typeof text === 'string' ? text : text())

/** The library takes the title as it was when the toast came. @returns ends that */
function followTitle(toast: HTMLElement, title: NoticeText, locale: Ref<string>): () => void {
  const heading = toast.querySelector('.el-notification__title')
  return watch(locale, () => {
    if (heading) heading.textContent = said(title)
  })
}

const SHORT_MS = 4_000
const WITH_ACTION_MS = 9_000
const ERROR_MS = 14_000

/** Toasts in the language in use. Call in a component's setup. */
export function useNotices(): Notices {
  const { t, locale } = useI18n()
  const textOf = useErrorText()

  function show(type: 'success' | 'warning' | 'error', title: NoticeText, lines: () => readonly NoticeText[], duration: number, action?: NoticeAction): () => void {
    const button = (): VNode | undefined => action && h(ElButton, {
      size: 'small',
      class: 'notice-action',
      onClick: () => {
        notice.close()
        action.run()
      },
    }, () => said(action.label))
    let stop = (): void => undefined
    const onVnodeMounted = ({ el }: VNode): void => {
      const toast = (el as HTMLElement).closest<HTMLElement>('.el-notification')
      if (!toast) return
      const ends = [closeInTime(toast, duration, () => notice.close()), followTitle(toast, title, locale)]
      stop = () => ends.forEach((end) => end())
    }
    const text = (): VNode[] => lines().map(said).filter(Boolean).map((line, index) => h('p', { class: index === 0 ? 'what' : 'advice' }, line))
    const notice = ElNotification({
      type,
      title: said(title),
      message: () => h('div', { role: type === 'error' ? 'alert' : 'status', onVnodeMounted, onVnodeUnmounted: () => stop() }, [text(), button()]),
      // Its own time runs on under the focus.
      duration: 0,
      position: 'bottom-right',
      customClass: `notice notice-${type}`,
    })
    return () => notice.close()
  }

  return {
    success: (title, action) => void show('success', title, () => [], action ? WITH_ACTION_MS : SHORT_MS, action),
    warning: (title, text, action, stays = false) => show('warning', title, () => [text], stays ? 0 : ERROR_MS, action),
    error(raw, subject) {
      const title = (): string => (subject ? t('notice.about', { subject, what: textOf(raw).title }) : textOf(raw).title)
      show('error', title, () => [textOf(raw).message, textOf(raw).advice], ERROR_MS)
    },
  }
}

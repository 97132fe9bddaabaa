/** Asks before something is lost, always in the same form: the safe answer first, what loses something in red and never one Enter away. */
import { ElMessageBox } from 'element-plus'
import { nextTick } from 'vue'
import { useI18n } from 'vue-i18n'

export interface Question {
  readonly title: string
  readonly text: string
  /** Of the button that agrees. */
  readonly agree: string
  /** Of the one that does not; “Cancel” unless given. */
  readonly refuse?: string
  /** What is agreed to cannot be undone. */
  readonly isDangerous?: boolean
}

/** Enter on the safe button must not do harm. */
function focusSafe(): void {
  document.querySelector<HTMLElement>('.question-dangerous .el-message-box__btns .el-button:not(.el-button--primary, .el-button--danger)')?.focus()
}

/** Call in a component's setup. @returns asks, and resolves with whether the person agreed */
export function useQuestions(): (question: Question) => Promise<boolean> {
  const { t } = useI18n()
  return ({ title, text, agree, refuse, isDangerous = false }) => {
    let focusing: ReturnType<typeof setTimeout> | undefined
    const answer = ElMessageBox.confirm(text, title, {
      confirmButtonText: agree,
      cancelButtonText: refuse ?? t('common.cancel'),
      type: isDangerous ? 'warning' : 'info',
      autofocus: !isDangerous,
      ...(isDangerous ? { confirmButtonClass: 'el-button--danger', customClass: 'question-dangerous' } : {}),
    }).then(() => true, () => false).finally(() => clearTimeout(focusing))
    // Once the box has opened and set the focus itself.
    if (isDangerous) void nextTick(() => {
      focusing = setTimeout(focusSafe, 60)
    })
    return answer
  }
}

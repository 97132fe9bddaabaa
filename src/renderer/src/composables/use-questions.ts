/** Asks before something is lost, always in the same form: the safe answer first, what loses something in red and never one Enter away. */
import { ElMessageBox } from 'element-plus'
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

/** Call in a component's setup. @returns asks, and resolves with whether the person agreed */
export function useQuestions(): (question: Question) => Promise<boolean> {
  const { t } = useI18n()
  return ({ title, text, agree, refuse, isDangerous = false }) => {
    return ElMessageBox.confirm(text, title, {
      confirmButtonText: agree,
      cancelButtonText: refuse ?? t('common.cancel'),
      type: isDangerous ? 'warning' : 'info',
      // Enter must not do harm: the focus begins on the safe button (dialog-keys.ts).
      autofocus: !isDangerous,
      ...(isDangerous ? { confirmButtonClass: 'el-button--danger', cancelButtonClass: 'question-safe', customClass: 'question-dangerous' } : {}),
    }).then(() => true, () => false)
  }
}

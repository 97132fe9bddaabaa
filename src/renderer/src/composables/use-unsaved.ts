/** Closing a dialog with something typed in it asks first, however it is closed. */
import { useI18n } from 'vue-i18n'
import { useQuestions } from './use-questions'

/**
 * Call in a component's setup.
 * @param isChanged whether something would be lost now
 * @returns for a dialog's `before-close`: calls `done` where nothing is lost or the person agreed
 */
export function useUnsaved(isChanged: () => boolean): (done: () => void) => void {
  const { t } = useI18n()
  const ask = useQuestions()
  return (done) => {
    if (!isChanged()) return done()
    void ask({ title: t('unsaved.title'), text: t('unsaved.text'), agree: t('unsaved.discard'), refuse: t('unsaved.keep'), isDangerous: true })
      .then((isAgreed) => {
        if (isAgreed) done()
      })
  }
}

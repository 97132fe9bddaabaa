/** What a button does and which keys do the same, for its tooltip. */
import { useI18n } from 'vue-i18n'
import { KEYS, type CommandName } from './commands'
import { showCombination } from './use-shortcuts'

/** @returns the keys as they are printed on this computer's keyboard: `Ctrl+Shift+F` */
export const printedKeys = (combination: string): string => showCombination(combination).join('+')

/** Call in a component's setup. @returns the tooltip: the text of `label`, and the keys of the command or the combination itself */
export function useHint(): (label: string, keys: CommandName | `${string}+${string}`) => string {
  const { t } = useI18n()
  return (label, keys) => `${t(label)} · ${printedKeys(keys in KEYS ? KEYS[keys as CommandName][0] : keys)}`
}

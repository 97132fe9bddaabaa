import type { Messages } from './en'
import { frMachines } from './fr/machines'
import { frStorage } from './fr/storage'
import { frWindow } from './fr/window'
import { frManager } from './fr-manager'

export const fr: Messages = { ...frWindow, ...frMachines, ...frStorage, manager: frManager }

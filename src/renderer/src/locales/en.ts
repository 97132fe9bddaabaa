import { PHRASES } from '../../../preload/contract'
import { enMachines } from './en/machines'
import { enStorage } from './en/storage'
import { enWindow } from './en/window'
import type { Translated } from './translated'

/** Every text of the interface. `fr.ts` has the same shape; the compiler and a test hold it to that. */
export const en = { ...enWindow, ...enMachines, ...enStorage, manager: PHRASES }

export type Messages = Translated<typeof en>

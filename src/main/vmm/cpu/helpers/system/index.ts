/** Every helper of the system instructions: engines register them by name. */
import type { Helper } from '../../emit/emitter'
import { callHelpers } from './calls'
import { controlHelpers } from './control'
import { debugHelpers } from './debug'
import { farHelpers } from './far'
import { farReturnHelpers } from './far-return'
import { interruptHelpers } from './interrupts'
import { msrHelpers } from './msr'
import { portHelpers } from './ports'
import { segmentHelpers } from './segments'
import { tableHelpers } from './tables'
import { virtualInterruptHelpers } from './virtual-interrupts'

export const systemHelpers: readonly Helper[] = [
  ...callHelpers, ...controlHelpers, ...debugHelpers, ...farHelpers, ...farReturnHelpers, ...interruptHelpers, ...msrHelpers,
  ...portHelpers, ...segmentHelpers, ...tableHelpers, ...virtualInterruptHelpers,
]

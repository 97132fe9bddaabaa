/** Every helper that a meaning may call: by their names a module that was built ahead of time gets its imports. */
import type { Helper } from '../emit/emitter'
import { bulkFill, bulkMove, bulkString } from './bulk-string'
import { crc32Helper } from './crc32'
import { popFlagsHelper, pushFlagsHelper } from './flags'
import { fxrstorHelper, fxsaveHelper, initX87Helper, loadMxcsrHelper } from './fpu-state'
import { sseCompareHelper, sseConvertHelper, sseLanesHelper } from './sse/lanes'
import { compareStringsHelper } from './sse/string-compare'
import { systemHelpers } from './system'
import { divideWideHelper } from './wide-division'
import * as x87 from './x87'
import { xrstorHelper, xsaveHelper } from './xsave'

const integerHelpers: readonly Helper[] = [bulkFill, bulkMove, bulkString, crc32Helper, divideWideHelper, popFlagsHelper, pushFlagsHelper]

const sseHelpers: readonly Helper[] = [
  compareStringsHelper, fxrstorHelper, fxsaveHelper, loadMxcsrHelper, sseCompareHelper, sseConvertHelper, sseLanesHelper, xrstorHelper, xsaveHelper,
]

const x87Helpers: readonly Helper[] = [
  initX87Helper,
  // loads, stores, the stack
  ...Object.values(x87.loadHelpers), x87.loadDecimalHelper, x87.loadExtendedHelper, x87.loadRegisterHelper,
  ...Object.values(x87.storeHelpers), x87.storeDecimalHelper, x87.storeExtendedHelper, x87.storeIntegerHelper, x87.storeRegisterHelper, x87.probeStoreHelper,
  x87.exchangeHelper, x87.freeHelper, x87.moveHelper,
  // arithmetic
  ...Object.values(x87.registerHelpers), ...Object.values(x87.memoryHelpers).flatMap((byKind) => Object.values(byKind)),
  x87.compareHelper, ...Object.values(x87.compareMemoryHelpers), x87.examineHelper, x87.signHelper,
  x87.remainderHelper, x87.roundHelper, x87.scaleHelper, x87.squareRootHelper, x87.unaryHelper,
  x87.angleHelper, x87.exponentialHelper, x87.logarithmHelper, x87.transcendentalHelper,
  // the unit's state
  x87.loadEnvironmentHelper, x87.noteOpcodeHelper, x87.storeEnvironmentHelper,
]

export const allHelpers: readonly Helper[] = [...integerHelpers, ...sseHelpers, ...systemHelpers, ...x87Helpers]

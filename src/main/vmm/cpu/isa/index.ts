/** The instruction table: every family's rows, in one array. Each family adds an import and a spread line. */
import { aluRows } from './alu'
import { atomicRows } from './atomic'
import { bitRows } from './bits'
import { branchRows } from './branch'
import { flagRows } from './flagops'
import { fpuStateRows } from './fpu-state'
import { miscRows } from './misc'
import { movRows } from './mov'
import { muldivRows } from './muldiv'
import { shiftRows } from './shift'
import { sseConvertRows } from './sse-convert'
import { sseFloatRows } from './sse-float'
import { sseIntRows } from './sse-int'
import { sseMoveRows } from './sse-move'
import { sse41Rows } from './sse41'
import { sse42Rows } from './sse42-string'
import { stackRows } from './stack'
import { stringRows } from './string'
import { systemControlRows } from './system-control'
import { systemEventRows } from './system-events'
import { systemSegmentRows } from './system-segments'
import { x87Rows } from './x87'
import type { InsnRow } from './types'

export const isaRows: readonly InsnRow[] = [
  ...aluRows,
  ...atomicRows,
  ...bitRows,
  ...branchRows,
  ...flagRows,
  ...fpuStateRows,
  ...miscRows,
  ...movRows,
  ...muldivRows,
  ...shiftRows,
  ...sseConvertRows,
  ...sseFloatRows,
  ...sseIntRows,
  ...sseMoveRows,
  ...sse41Rows,
  ...sse42Rows,
  ...stackRows,
  ...stringRows,
  ...systemControlRows,
  ...systemEventRows,
  ...systemSegmentRows,
  ...x87Rows,
]

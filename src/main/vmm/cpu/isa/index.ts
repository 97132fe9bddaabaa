/** The instruction table: every family's rows, in one array. Each family adds an import and a spread line. */
import { aluRows } from './alu'
import type { InsnRow } from './types'

export const isaRows: readonly InsnRow[] = [
  ...aluRows,
]

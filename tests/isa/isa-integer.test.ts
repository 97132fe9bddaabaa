/** Every row of the general registers, of the system and of control flow: see `table-suite.ts`. */
import { testRows } from './table-suite'

testRows('integer rows', ({ unit }) => unit === undefined)

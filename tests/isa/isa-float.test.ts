/** Every row of the x87, of MMX and of SSE: see `table-suite.ts`. A file of its own, so that both run at a time. */
import { testRows } from './table-suite'

testRows('floating point and vector rows', ({ unit }) => unit !== undefined)

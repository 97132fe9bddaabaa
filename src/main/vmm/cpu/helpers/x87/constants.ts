/** What the x87 has built in. */
import { BIAS } from './float80'

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: 64 significant bits and the two values a rounding mode may choose between. */
export const CONSTANTS: readonly { readonly exp: number; readonly down: bigint; readonly nearest: bigint; readonly up: bigint }[] = [
  { exp: BIAS, down: 0x8000000000000000n, nearest: 0x8000000000000000n, up: 0x8000000000000000n },
  { exp: BIAS + 1, down: 0xd49a784bcd1b8afen, nearest: 0xd49a784bcd1b8afen, up: 0xd49a784bcd1b8affn },
  { exp: BIAS, down: 0xb8aa3b295c17f0bbn, nearest: 0xb8aa3b295c17f0bcn, up: 0xb8aa3b295c17f0bcn },
  { exp: BIAS + 1, down: 0xc90fdaa22168c234n, nearest: 0xc90fdaa22168c235n, up: 0xc90fdaa22168c235n },
  { exp: BIAS - 2, down: 0x9a209a84fbcff798n, nearest: 0x9a209a84fbcff799n, up: 0x9a209a84fbcff799n },
  { exp: BIAS - 1, down: 0xb17217f7d1cf79abn, nearest: 0xb17217f7d1cf79acn, up: 0xb17217f7d1cf79acn },
  { exp: 0, down: 0n, nearest: 0n, up: 0n },
]

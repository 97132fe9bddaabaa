/** An interrupt gate to flat ring 0 code, as the short ways of delivery in TypeScript and in generated code know it. SDM vol. 3, 3.4.5 and 6.12. */
import { Mode } from '../state/mode'

/** TF, IF, NT, RF and VM: an interrupt gate clears them. */
export const CLEARED = 0x3_4300
export const FLAG_RF = 0x1_0000
export const FLAG_AC = 0x4_0000

/** Upper words of flat, present, accessed descriptors of ring 0, but for what is the system's own: AVL. */
export const FLAT_CODE64 = 0x00af_9b00
export const FLAT_CODE32 = 0x00cf_9b00
export const FLAT_DATA = 0x00cf_9300
export const IGNORED = 1 << 20

/** As `segAttr`. */
export const CODE64_ATTR = 0xa09b
export const CODE32_ATTR = 0xc09b
export const DATA_ATTR = 0xc093
/** Bits of the mode key that say what code is interrupted. */
export const KIND = Mode.CODE64 | Mode.CODE32 | Mode.FLAT | Mode.LONG

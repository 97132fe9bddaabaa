/**
 * Virtual machine generation ID: a GUID in guest memory that changes when the guest goes on from a point in time a second time
 * (a restored snapshot, a clone), and the event that says so. Guests then draw new random numbers.
 * Microsoft, "Virtual Machine Generation ID", 1 August 2012; QEMU docs/specs/vmgenid.
 */
import type { GuestMemory } from '../../bus/types'

/** General-purpose event that the DSDT's handler turns into a notification. */
export const GENERATION_GPE = 5
const GUID_BYTES = 16

/**
 * A GUID as Microsoft lays it out: the first three groups little-endian.
 * @param uuid RFC 4122 text form
 * @throws RangeError for anything else
 */
export function guidBytes(uuid: string): Uint8Array {
  const hex = uuid.replaceAll('-', '')
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new RangeError(`'${uuid}' is no UUID`)
  const bytes = Uint8Array.from({ length: GUID_BYTES }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16))
  bytes.subarray(0, 4).reverse()
  bytes.subarray(4, 6).reverse()
  bytes.subarray(6, 8).reverse()
  return bytes
}

/** What it is lives in guest memory, which is saved with the machine: there is no state besides. */
export class VmGeneration {
  /** @param address aligned to 8 bytes, in memory that the guest's map reserves @param raise raises {@link GENERATION_GPE} */
  constructor(private readonly memory: GuestMemory, private readonly address: number, private readonly raise: () => void) {}

  /** At power-on: nobody has seen another one. */
  put(uuid: string): void {
    this.memory.write(this.address, guidBytes(uuid))
  }

  /** Of a machine that is continued: tells the guest where it is another generation than the one it has seen. */
  renew(uuid: string): void {
    const seen = new Uint8Array(GUID_BYTES)
    this.memory.read(this.address, seen)
    const now = guidBytes(uuid)
    if (seen.every((byte, i) => byte === now[i])) return
    this.memory.write(this.address, now)
    this.raise()
  }
}

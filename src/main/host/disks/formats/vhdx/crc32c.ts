/** CRC-32C (Castagnoli), as VHDX uses it. */
const POLYNOMIAL = 0x82f6_3b78

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  return crc >>> 0
})

/** Of the bytes, those of the checksum itself (4 from `checksumAt`) taken as zero. */
export function crc32c(bytes: Uint8Array, checksumAt: number): number {
  let crc = 0xffff_ffff
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= checksumAt && i < checksumAt + 4 ? 0 : bytes[i]
    crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8)
  }
  return ~crc >>> 0
}

/** binary32 bits to a JavaScript number and back, rounding to nearest. */
export const toNumberBits = {
  toNumber(bits: bigint): number {
    const view = new DataView(new ArrayBuffer(4))
    view.setUint32(0, Number(bits))
    return view.getFloat32(0)
  },
  toBits(value: number): bigint {
    const view = new DataView(new ArrayBuffer(4))
    view.setFloat32(0, value)
    return BigInt(view.getUint32(0))
  },
} as const

/** A synthetic bzImage for tests: a right header, with any field replaced. */
export interface TestKernelOptions {
  readonly version?: number
  readonly xloadflags?: number
  readonly initrdAddrMax?: number
  readonly cmdlineSize?: number
  readonly prefAddress?: bigint
  readonly initSize?: number
  readonly codeBytes?: number
}

export function buildTestKernel(options: TestKernelOptions = {}): Uint8Array {
  const codeBytes = options.codeBytes ?? 0x4000
  const setupSects = 2
  const image = new Uint8Array((setupSects + 1) * 512 + codeBytes)
  const view = new DataView(image.buffer)
  image[0x1f1] = setupSects
  view.setUint32(0x1f4, codeBytes / 16, true)
  view.setUint16(0x1fe, 0xaa55, true)
  image.set([0xeb, 0x6a], 0x200)
  view.setUint32(0x202, 0x53726448, true)
  view.setUint16(0x206, options.version ?? 0x20f, true)
  image[0x211] = 1
  view.setUint32(0x22c, options.initrdAddrMax ?? 0x7fff_ffff, true)
  view.setUint32(0x230, 0x20_0000, true)
  image[0x234] = 1
  view.setUint16(0x236, options.xloadflags ?? 1, true)
  view.setUint32(0x238, options.cmdlineSize ?? 2047, true)
  view.setBigUint64(0x258, options.prefAddress ?? 0x10_0000n, true)
  view.setUint32(0x260, options.initSize ?? 0x10_0000, true)
  image.fill(0xcc, (setupSects + 1) * 512)
  return image
}

import { describe, expect, it } from 'vitest'
import { WindowedSpace } from '../../bus/address-space'
import { PciBus } from './bus'
import { createHostBridge, PciFunction, type PciEnvironment } from './function'

const ECAM = 0xe000_0000
const CONFIG_ADDRESS = 0xcf8
const CONFIG_DATA = 0xcfc

function rig(): { io: WindowedSpace; mmio: WindowedSpace; bus: PciBus; env: PciEnvironment; resets: number[] } {
  const io = new WindowedSpace('io')
  const mmio = new WindowedSpace('mmio')
  const resets: number[] = []
  const bus = new PciBus({ read: () => 0x2a, write: (_offset, _size, value) => void resets.push(value) })
  const env: PciEnvironment = { memory: mmio, msi: { send: () => undefined }, intx: { set: () => undefined } }
  bus.attach(0, createHostBridge(env))
  bus.mapInto(io, mmio, { address: CONFIG_ADDRESS, data: CONFIG_DATA, ecam: ECAM, ecamBuses: 1 })
  return { io, mmio, bus, env, resets }
}

describe('PCI configuration', () => {
  it('finds the host bridge by ports and by ECAM, and nothing elsewhere', () => {
    const { io, mmio } = rig()
    io.write(CONFIG_ADDRESS, 4, 0x8000_0000)
    expect(io.read(CONFIG_ADDRESS, 4)).toBe(0x8000_0000)
    const id = io.read(CONFIG_DATA, 4)
    expect(id).toBe(mmio.read(ECAM, 4))
    expect(io.read(CONFIG_DATA + 2, 2)).toBe(id >>> 16)
    for (const address of [0x8000_0800, 0x8001_0000, 0]) {
      io.write(CONFIG_ADDRESS, 4, address)
      expect(io.read(CONFIG_DATA, 4), address.toString(16)).toBe(0xffff_ffff)
    }
    expect(mmio.read(ECAM + 0x8000, 4)).toBe(0xffff_ffff)
    expect(mmio.read(ECAM + 0x100, 4), 'no extended capabilities').toBe(0)
  })

  it('passes byte accesses within the address port on, so that 0xCF9 can reset', () => {
    const { io, resets } = rig()
    io.write(0xcf9, 1, 6)
    io.write(CONFIG_ADDRESS, 4, 0x8000_0600)
    expect(resets).toEqual([6])
    expect(io.read(0xcf9, 1)).toBe(0x2a)
  })

  it('refuses two functions in one slot', () => {
    const { bus, env } = rig()
    expect(() => bus.attach(0, createHostBridge(env))).toThrow(/slot 0/)
  })

  it('writes only what may be written', () => {
    const { mmio } = rig()
    const id = mmio.read(ECAM, 4)
    mmio.write(ECAM, 4, 0)
    mmio.write(ECAM + 0x3c, 4, 0xffff_ffff)
    expect([mmio.read(ECAM, 4), mmio.read(ECAM + 0x3c, 4)]).toEqual([id, 0xff])
  })
})

describe('PCI function', () => {
  it('INTx follows the level, the disable bit and the status bit', () => {
    let line = false
    const { env } = rig()
    const f = new PciFunction('f', { vendor: 1, device: 2, classCode: 0, subclass: 0, revision: 0 }, { ...env, intx: { set: (l) => void (line = l) } })
    f.useIntx()
    f.setIntx(true)
    expect([line, f.readConfig(6, 2) & 8, f.readConfig(4, 4) & 0x8_0000]).toEqual([true, 8, 0x8_0000])
    f.writeConfig(4, 2, 0x400)
    expect([line, f.readConfig(6, 2) & 8]).toEqual([false, 8])
    f.writeConfig(4, 2, 0)
    expect(line).toBe(true)
    f.reset()
    expect([line, f.readConfig(6, 2) & 8]).toEqual([false, 0])
  })

  it('a BAR parked on another window yields to it, and appears once moved', () => {
    const { env, mmio } = rig()
    const f = new PciFunction('f', { vendor: 1, device: 2, classCode: 0, subclass: 0, revision: 0 }, env)
    f.addMemoryBar(0, 0x1000, { read: () => 0x77, write: () => undefined }, 'bar')
    f.writeConfig(4, 2, 2)
    f.writeConfig(0x10, 4, ECAM)
    expect(mmio.read(ECAM, 1)).not.toBe(0x77)
    f.writeConfig(0x10, 4, 0xc000_0000)
    expect(mmio.read(0xc000_0000, 1)).toBe(0x77)
    const state = structuredClone(f.save())
    f.reset()
    expect(mmio.read(0xc000_0000, 1)).toBe(0xff)
    f.restore(state)
    expect(mmio.read(0xc000_0000, 1)).toBe(0x77)
    expect(() => f.restore({ ...state, config: new Uint8Array(3) })).toThrow(/256 bytes/)
  })
})

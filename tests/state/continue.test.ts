import { describe, expect, it } from 'vitest'
import type { MachineConfig } from '../../src/main/vmm/machine'
import { differences, guestFile, MemoryChunks, Rig } from './rig'

const linux = (name: string, profile: string): MachineConfig => ({
  name, uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: 128, cpuProfile: profile,
  kernel: { image: guestFile(name, 'vmlinuz'), initrd: guestFile(name, 'initrd.gz'), commandLine: 'console=ttyS0 idle=poll' },
  disks: [], maxTier: 0, onReset: 'stop', deterministic: { nsPerInstruction: 10 },
})

describe('memory captured while the guest runs on', () => {
  it('is that of the instant of the capture, page by page', async () => {
    const rig = new Rig(linux('amd64-cloud', 'nestbox64'))
    await rig.run(100e6)
    const atOnce = rig.capture().memory
    const { memory } = rig.machine.capture()
    const piecemeal = new MemoryChunks()
    const order = memory.order()
    for (let i = 0; i < order.length; i++) {
      const taken = memory.take(order[i])
      if (taken) piecemeal.put(order[i], taken)
      if (i % 40 === 0) await rig.run(1e6)
    }
    expect(memory.copied).toBeGreaterThan(100)
    memory.end()
    expect(piecemeal.digest() === atOnce.digest()).toBe(true)
    expect(rig.capture().memory.digest() === atOnce.digest()).toBe(false)
    // The guest is none the worse.
    await rig.run(30e6)
  })

  it('can be given up half-way and begun again', async () => {
    const rig = new Rig(linux('amd64-cloud', 'nestbox64'))
    await rig.run(50e6)
    const first = rig.machine.capture().memory
    first.take(first.order()[0])
    await rig.run(1e6)
    first.end()
    const [a, b] = [rig.capture(), rig.capture()]
    expect(b.memory.digest() === a.memory.digest()).toBe(true)
    await rig.run(10e6)
  })
})

describe('a machine that is saved and restored', () => {
  it.each([['amd64-cloud', 'nestbox64'], ['i386', 'nestbox32']])('%s continues exactly, at several points of its boot', async (name, profile) => {
    const config = linux(name, profile)
    const original = new Rig(config)
    for (const instructions of [20e6, 60e6, 120e6]) {
      await original.run(instructions)
      const said = original.output.length
      const saved = original.capture()
      // Saving again changes nothing; what is not saved is dropped here too, so that both go the same way.
      expect(differences(saved.state, original.capture().state)).toEqual([])
      original.inner.cpu.afterReset()
      const copy = new Rig(config, saved)
      copy.seed = original.seed
      expect(differences(saved.state, copy.capture().state)).toEqual([])
      for (const rig of [original, copy]) await rig.run(30e6)
      const [a, b] = [original.capture(), copy.capture()]
      expect(differences(a.state, b.state)).toEqual([])
      expect(b.memory.digest() === a.memory.digest()).toBe(true)
      expect(copy.output).toBe(original.output.slice(said))
      expect(saved.memory.loads).toBeGreaterThan(0)
    }
  })
})

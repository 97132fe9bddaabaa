import { describe, expect, it } from 'vitest'
import type { MachineConfig } from '../../src/main/vmm/machine'
import { differences, guestFile, Rig } from './rig'

const linux = (name: string, profile: string): MachineConfig => ({
  name, uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: 128, cpuProfile: profile,
  kernel: { image: guestFile(name, 'vmlinuz'), initrd: guestFile(name, 'initrd.gz'), commandLine: 'console=ttyS0 idle=poll' },
  disks: [], maxTier: 0, onReset: 'stop', deterministic: { nsPerInstruction: 10 },
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

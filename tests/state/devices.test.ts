import { describe, expect, it } from 'vitest'
import { FIELDS } from '../../src/main/vmm/cpu/state/layout'
import type { MachineConfig } from '../../src/main/vmm/machine'
import { DERIVED_FIELDS, SAVED_FIELDS } from '../../src/main/vmm/machine/state/cpu-state'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { differences, Rig, type MemoryChunks } from './rig'

const image = buildTinyKernel(GUESTS.spin)
const config: MachineConfig = {
  name: 'spin', uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: 16, cpuProfile: 'nestbox64',
  kernel: { image, commandLine: '' }, disks: [], maxTier: 0, onReset: 'stop', deterministic: { nsPerInstruction: 10 },
}

/** Ports and registers of a machine whose guest does nothing. */
class Bench {
  constructor(readonly rig: Rig) {}
  in = (port: number, size: 1 | 2 | 4 = 1): number => this.rig.inner.board.io.read(port, size)
  out = (port: number, value: number, size: 1 | 2 | 4 = 1): void => this.rig.inner.board.io.write(port, size, value)
  read = (at: number): number => this.rig.inner.board.mmio.read(at, 4)
  write = (at: number, value: number): void => this.rig.inner.board.mmio.write(at, 4, value)
  get board(): Rig['inner']['board'] { return this.rig.inner.board }
  /** A millisecond is 100 000 instructions. */
  wait = (ms: number): Promise<void> => this.rig.run(ms * 100_000)
}

interface Case {
  readonly device: string
  /** Leaves the device in the middle of something. */
  readonly begin: (bench: Bench) => void | Promise<void>
  /** What goes on from there, as the guest sees it. */
  readonly go: (bench: Bench) => unknown
}

const HPET = 0xfed0_0000
const LAPIC = 0xfee0_0000
const IOAPIC = 0xfec0_0000

const cases: readonly Case[] = [
  {
    device: 'pic: between two initialisation words, a line up',
    begin: ({ out, board }) => {
      out(0xa0, 0x11); out(0xa1, 0x28); out(0xa1, 2); out(0xa1, 1)
      out(0x21, 0); out(0x20, 0x11); out(0x21, 0x20)
      board.interrupts.isaLine(5).set(true)
    },
    go: ({ in: read, out, board }) => {
      out(0x21, 4); out(0x21, 1); out(0x21, 0)
      board.interrupts.isaLine(3).set(true)
      out(0x20, 0x0a)
      const irr = read(0x20)
      const vector = board.interrupts.pic.acknowledge()
      out(0x20, 0x0b)
      return [irr, vector, read(0x20), read(0x21), read(0xa1)]
    },
  },
  {
    device: 'ioapic: a level interrupt waits for its end',
    begin: ({ write, board }) => {
      write(LAPIC + 0xf0, 0x1ff)
      write(IOAPIC, 0x10 + 2 * 20); write(IOAPIC + 0x10, 0x8000 | 0x55)
      board.interrupts.ioapic.line(20).set(true)
      write(IOAPIC, 0x10 + 2 * 20)
    },
    go: ({ read, write, board }) => {
      const before = read(IOAPIC + 0x10)
      const vector = board.interrupts.acknowledge()
      write(LAPIC + 0xb0, 0)
      return [before, vector, read(IOAPIC + 0x10), board.interrupts.pendingVector()]
    },
  },
  {
    device: 'lapic: a timer counts, an interrupt is in service, another requested',
    begin: async ({ write, wait, board }) => {
      write(LAPIC + 0xf0, 0x1ff)
      write(LAPIC + 0x3e0, 0xb); write(LAPIC + 0x320, 0x2_0040); write(LAPIC + 0x380, 3_000_000)
      board.interrupts.lapic.accept(0x90, false)
      board.interrupts.acknowledge()
      board.interrupts.lapic.accept(0x70, false)
      await wait(1)
    },
    go: async ({ read, write, wait, board }) => {
      const count = read(LAPIC + 0x390)
      write(LAPIC + 0xb0, 0)
      const first = board.interrupts.acknowledge()
      write(LAPIC + 0xb0, 0)
      await wait(3)
      return [count, first, board.interrupts.pendingVector(), read(LAPIC + 0x390)]
    },
  },
  {
    device: 'pit: half a counter read, a count under way',
    begin: async ({ out, in: read, wait }) => {
      out(0x43, 0x34); out(0x40, 0x9c); out(0x40, 0x2e)
      await wait(1)
      out(0x43, 0x00)
      read(0x40)
      out(0x43, 0xb0); out(0x42, 0x12)
    },
    go: async ({ out, in: read, wait }) => {
      const high = read(0x40)
      out(0x42, 0x34)
      await wait(2)
      out(0x43, 0x00); out(0x43, 0x80)
      return [high, read(0x40), read(0x40), read(0x42), read(0x42), read(0x61)]
    },
  },
  {
    device: 'rtc: a time was set, the periodic interrupt runs',
    begin: async ({ out, wait }) => {
      const set = (index: number, value: number): void => { out(0x70, index); out(0x71, value) }
      set(0xb, 0x82); set(0, 0x30); set(2, 0x45); set(4, 0x11); set(0xb, 0x42); set(0xa, 0x26)
      await wait(0.4)
      out(0x70, 4)
    },
    go: async ({ in: read, out, wait }) => {
      const hour = read(0x71)
      await wait(3)
      out(0x70, 0xc)
      const cause = read(0x71)
      out(0x70, 2)
      return [hour, cause, read(0x71)]
    },
  },
  {
    device: 'hpet: a periodic comparator runs',
    begin: async ({ write, wait }) => {
      write(HPET + 0x10, 1)
      write(HPET + 0x100, 0x4e | (2 << 9)); write(HPET + 0x108, 30_000); write(HPET + 0x108, 20_000)
      await wait(1)
    },
    go: async ({ read, write, wait }) => {
      const [now, next] = [read(HPET + 0xf0), read(HPET + 0x108)]
      write(HPET + 0x20, 1)
      await wait(2)
      return [now, next, read(HPET + 0xf0), read(HPET + 0x20), read(HPET + 0x108)]
    },
  },
  {
    device: 'uart: half a divisor written, input in the FIFO',
    begin: ({ out, in: read, rig }) => {
      out(0x3fa, 0xc1); out(0x3f9, 5); out(0x3fc, 0xb)
      rig.type('abc')
      read(0x3f8)
      out(0x3fb, 0x83); out(0x3f8, 12)
    },
    go: async ({ out, in: read, wait }) => {
      out(0x3f9, 0)
      const divisor = [read(0x3f8), read(0x3f9)]
      out(0x3fb, 3)
      await wait(1)
      return [divisor, read(0x3fa), read(0x3f8), read(0x3f8), read(0x3fd), read(0x3f9)]
    },
  },
  {
    device: 'i8042: a command waits for its byte, answers in the queue',
    begin: ({ out }) => {
      out(0x64, 0xd4); out(0x60, 0xf2)
      out(0x60, 0xf2)
      out(0x64, 0x60)
    },
    go: ({ out, in: read }) => {
      out(0x60, 0x47)
      const bytes = Array.from({ length: 6 }, () => [read(0x64), read(0x60)])
      out(0x64, 0x20)
      return [bytes, read(0x60)]
    },
  },
  {
    device: 'acpi: the power button is pressed and not yet seen',
    begin: async ({ out, board, wait }) => {
      out(0x602, 0x100, 2)
      board.acpi.pressPowerButton()
      await wait(1)
    },
    go: async ({ in: read, out, wait }) => {
      const status = read(0x600, 4)
      out(0x600, 0x100, 2)
      const timer = read(0x608, 4)
      await wait(1)
      return [status, timer, read(0x600, 4), read(0x608, 4)]
    },
  },
  {
    device: 'pci: an address is latched, a window moved, MSI-X programmed',
    begin: ({ out, write }) => {
      out(0xcf8, 0x8000_0820, 4); out(0xcfc, 0xc800_0000, 4)
      out(0xcf8, 0x8000_0804, 4); out(0xcfc, 0x0006, 2)
      write(0xc800_0000, 1)
      out(0xcf8, 0x8000_0820, 4)
    },
    go: ({ in: read, read: load }) => [read(0xcfc, 4), load(0xc800_0004), load(0xc800_0014)],
  },
]

const fork = (original: Rig, saved: { state: string; memory: MemoryChunks }): Rig => {
  const copy = new Rig(config, saved)
  copy.seed = original.seed
  copy.wallMs = original.wallMs
  return copy
}

describe('devices saved in the middle of something', () => {
  it.each(cases)('$device', async ({ begin, go }) => {
    const original = new Rig(config)
    const untouched = original.capture().state
    await original.run(1000)
    await begin(new Bench(original))
    const saved = original.capture()
    const copy = fork(original, saved)
    expect(differences(saved.state, copy.capture().state)).toEqual([])
    const expected = await go(new Bench(original))
    expect(await go(new Bench(copy))).toEqual(expected)
    expect(differences(original.capture().state, copy.capture().state)).toEqual([])
    // The case did change the device: a machine that had not been restored would answer otherwise.
    expect(differences(untouched, saved.state)).not.toEqual([])
    const fresh = new Rig(config)
    await fresh.run(1000)
    expect(await go(new Bench(fresh))).not.toEqual(expected)
  })

  it('refuses states that are not what the device saves, naming device and field', () => {
    const saved = new Rig(config).capture()
    const state = JSON.parse(saved.state) as { devices: Record<string, { version: number; state: Record<string, unknown> }> }
    let refused = 0
    for (const [id, { state: fields }] of Object.entries(state.devices)) {
      if (id === 'cpu0') continue
      for (const field of new Set([Object.keys(fields)[0], Object.keys(fields).at(-1) ?? ''])) {
        const changed = structuredClone(state)
        changed.devices[id].state[field] = 'nonsense'
        expect(() => new Rig(config, { state: JSON.stringify(changed), memory: saved.memory }), `${id}.${field}`).toThrow(new RegExp(`${id}: ${field}`))
        refused++
      }
      const newer = structuredClone(state)
      newer.devices[id].version = 99
      expect(() => new Rig(config, { state: JSON.stringify(newer), memory: saved.memory })).toThrow(/version/)
    }
    expect(refused).toBeGreaterThan(15)
    const missing = structuredClone(state)
    delete missing.devices.hpet
    expect(() => new Rig(config, { state: JSON.stringify(missing), memory: saved.memory })).toThrow(/no device hpet/)
    const more = structuredClone(state)
    more.devices.gpu = { version: 1, state: {} }
    expect(() => new Rig(config, { state: JSON.stringify(more), memory: saved.memory })).toThrow(/has not: gpu/)
  })

  it('knows every register of the layout table as saved or derived', () => {
    expect([...SAVED_FIELDS, ...DERIVED_FIELDS].sort()).toEqual(Object.keys(FIELDS).sort())
  })
})

import { describe, expect, it } from 'vitest'
import { FIELDS } from '../../src/main/vmm/cpu/state/layout'
import type { MachineConfig } from '../../src/main/vmm/machine'
import { DERIVED_FIELDS, SAVED_FIELDS } from '../../src/main/vmm/machine/state/cpu-state'
import { buildTinyKernel, GUESTS } from '../fixtures/tiny-kernel'
import { Bench, CASES, type Case } from './device-cases'
import { differences, HeldDisk, Rig, type MemoryChunks } from './rig'

const image = buildTinyKernel(GUESTS.spin)
const HOUR_MS = 3_600_000

/** A machine with one of everything that a machine can have, each with a disk of its own. */
const configWith = (disk: HeldDisk): MachineConfig => ({
  name: 'spin', uuid: '00000000-0000-4000-8000-000000000001', memoryMiB: 16, cpuProfile: 'nestbox64',
  kernel: { image, commandLine: '' }, disks: [{ id: 'disk0', backend: disk, queues: 2 }],
  maxTier: 0, onReset: 'stop', deterministic: { nsPerInstruction: 10 },
})
const sectors = (): HeldDisk => new HeldDisk(Uint8Array.from({ length: 64 << 10 }, (_, i) => (i >> 9) + i))
const config = configWith(sectors())

interface Saved { readonly state: string; readonly memory: MemoryChunks }
interface SavedText { readonly devices: Record<string, unknown> }

const fork = (original: Rig, saved: Saved, disk: HeldDisk): Rig => {
  const copy = new Rig(configWith(disk.fork()), saved)
  copy.seed = original.seed
  copy.wallMs = original.wallMs
  return copy
}

/** The same state, but with one part as in a machine that was switched on an hour later and did nothing. */
function without(section: string, { state, memory }: Saved): Saved {
  const blank = JSON.parse(new Rig(configWith(sectors()), undefined, new Rig(config).wallMs + HOUR_MS).capture().state) as SavedText
  const { devices, ...rest } = JSON.parse(state) as SavedText
  return { state: JSON.stringify({ ...rest, devices: { ...devices, [section]: blank.devices[section] } }), memory }
}

/** What comes of a machine that goes on: also that it does not. */
async function outcomeOf(make: () => Rig, go: Case['go']): Promise<unknown> {
  try {
    return await go(new Bench(make()))
  } catch (error) {
    return String(error)
  }
}

describe('devices saved in the middle of something', () => {
  it.each(CASES)('$section: $what', async ({ section, begin, go }) => {
    const original = new Rig(configWith(sectors()))
    await original.run(1000)
    const bench = new Bench(original)
    await begin(bench)
    const saved = original.capture()
    const disk = bench.disk.fork()
    const copy = fork(original, saved, disk)
    expect(differences(saved.state, copy.capture().state)).toEqual([])
    const expected = await go(bench)
    expect(await go(new Bench(copy))).toEqual(expected)
    expect(differences(original.capture().state, copy.capture().state)).toEqual([])
    // It is this part of the state that it goes on from: with another one in its place the guest would see something else.
    expect(await outcomeOf(() => fork(original, without(section, saved), disk), go)).not.toEqual(expected)
  })

  it('are all that a machine saves', () => {
    const saved = JSON.parse(new Rig(config).capture().state) as SavedText
    expect([...new Set(CASES.map(({ section }) => section))].sort()).toEqual(Object.keys(saved.devices).sort())
  })

  it('where time is the host\'s, the guest is told by kvmclock that it was held, and its time goes on where it stood', async () => {
    const { deterministic: _none, ...real } = config
    const original = new Rig(real)
    await original.run(1000)
    const { begin } = CASES.find(({ section }) => section === 'kvm-clock') ?? CASES[0]
    await begin(new Bench(original))
    await original.run(1000)
    const saved = original.capture()
    const { clock: { state: { nowNs } } } = (JSON.parse(saved.state) as { devices: { clock: { state: { nowNs: number } } } }).devices
    const copy = new Rig(real, saved)
    const page = Buffer.from(new Bench(copy).bytes(0x40_2000, 32))
    expect([page.readUInt32LE(0), Number(page.readBigUInt64LE(16)), page[29]]).toEqual([2, Math.floor(nowNs), 3])
    copy.hostNs += 1e12
    await copy.run(1000)
    // Its own time: a thousand seconds of the host before it ran again are none of it.
    expect(Number(new Bench(copy).readMsr(0x10)) - nowNs).toBeLessThan(1e9)
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
    const older = structuredClone(state)
    delete older.devices.reset
    expect(new Bench(new Rig(config, { state: JSON.stringify(older), memory: saved.memory })).in(0x92)).toBe(2)
    const more = structuredClone(state)
    more.devices.gpu = { version: 1, state: {} }
    expect(() => new Rig(config, { state: JSON.stringify(more), memory: saved.memory })).toThrow(/has not: gpu/)
  })

  it('knows every register of the layout table as saved or derived', () => {
    expect([...SAVED_FIELDS, ...DERIVED_FIELDS].sort()).toEqual(Object.keys(FIELDS).sort())
  })
})

/** Snapshots that store what changed: how much that is, what they leave behind, and what a damaged one does to a running machine. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish } from '../../src/preload/contract'
import { readStateHeader } from '../../src/main/host/state-header'
import { StateFile } from '../../src/main/vm-host/state-file/reader'
import { CHUNK_BYTES } from '../../src/main/vmm/machine'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

const FILLED_MIB = 8
/** Where the guest of `ManagerRig` keeps its count; what it fills is above. */
const COUNTER_AT = 0x180_0000

describe('snapshots of a running machine', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  let id: string
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const stateOf = (snapshotId: string): string => rig.machineFolder(id, 'snapshots', snapshotId, 'state.nbs')
  /** Hurt wherever the guest counts and what it filled; what a machine needs before it runs is as it was. */
  function damaged(path: string): Buffer {
    const bytes = readFileSync(path)
    const file = StateFile.open(path, rig.machineFolder(id, 'memory'))
    for (const { chunk, offset } of file.records) if (chunk * CHUNK_BYTES >= COUNTER_AT) bytes[offset] ^= 0x10
    file.close()
    return bytes
  }

  const memoryFiles = (): string[] => readdirSync(rig.machineFolder(id, 'memory')).sort()

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, FILLED_MIB)
    await rig.open()
    ;({ id } = await rig.started())
  })
  afterEach(() => rig.close())

  it('store what changed since the one before; so do a suspended state and a fork', async () => {
    await rig.type(id, 'Aa')
    const first = await call('snapshot.take', { id })
    expect(first.bytes).toBeGreaterThan(FILLED_MIB << 20)
    await rig.type(id, 'Bb')
    const second = await call('snapshot.take', { id })
    expect(second.bytes).toBeLessThan(256 << 10)
    const third = await call('snapshot.take', { id })
    expect(third.bytes).toBeLessThan(256 << 10)
    const { memoryBytes } = await call('machine.suspend', { id })
    expect(memoryBytes).toBeLessThan(1 << 20)
    await call('machine.start', { id })
    await rig.type(id, 'Cc')
    // Continued from a state that builds on the last snapshot: that is not what the memory was last stored in, but still all is right.
    const fourth = await call('snapshot.take', { id })
    for (const [snapshotId, answer] of [[second.id, 'Cc'], [first.id, 'Bb'], [fourth.id, 'Dd'], [third.id, 'Cc']] as const) {
      await call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
      await rig.type(id, answer)
    }
    // Restored from the third: what it stores next is what it wrote since.
    expect((await call('snapshot.take', { id })).bytes).toBeLessThan(256 << 10)
    const child = await call('machine.fork', { id })
    expect(statSync(rig.machineFolder(child.id, 'memory', readdirSync(rig.machineFolder(child.id, 'memory'))[0])).nlink).toBeGreaterThan(1)
    await call('console.open', { id: child.id, port: 'ttyS0' })
    await rig.type(child.id, 'Dd')
    await rig.type(id, 'Dd')
  })

  it('keep what others build on when they are deleted, and let it go with the last of them', async () => {
    await rig.type(id, 'Aa')
    const first = await call('snapshot.take', { id })
    const { id: firstState } = await readStateHeader(stateOf(first.id))
    await rig.type(id, 'Bb')
    const second = await call('snapshot.take', { id })
    await rig.type(id, 'Cc')
    await call('machine.forceStop', { id })
    await call('snapshot.delete', { id, snapshotId: first.id })
    expect(memoryFiles()).toEqual([`${firstState}.nbs`])
    const copy = await call('machine.clone', { id, snapshotId: second.id })
    await call('snapshot.restore', { id, snapshotId: second.id, keepCurrent: false, start: true })
    await rig.type(id, 'Cc')
    await rig.until('the rest of the memory', () => readdirSync(rig.machineFolder(id, 'saved')).length === 0)
    await call('machine.forceStop', { id })
    await call('snapshot.delete', { id, snapshotId: second.id })
    expect(memoryFiles()).toEqual([])
    // The clone has its own names of the same files.
    await call('console.open', { id: copy.id, port: 'ttyS0' })
    await call('machine.start', { id: copy.id })
    await rig.type(copy.id, 'Cc')
  })

  it('travel in an archive, each file once', async () => {
    await rig.type(id, 'Aa')
    const first = await call('snapshot.take', { id, name: 'first' })
    await rig.type(id, 'Bb')
    await call('snapshot.take', { id, name: 'second' })
    await call('snapshot.delete', { id, snapshotId: first.id })
    await rig.type(id, 'Cc')
    await call('snapshot.take', { id, name: 'third' })
    await call('machine.suspend', { id })
    const path = join(rig.home, 'a.nestbox')
    const { bytes } = await call('machine.export', { id, path })
    expect(bytes).toBeLessThan((FILLED_MIB << 20) * 1.5)
    await call('machine.delete', { id })
    const { machine } = await call('machine.import', { path })
    await call('console.open', { id: machine.id, port: 'ttyS0' })
    await call('machine.start', { id: machine.id })
    await rig.type(machine.id, 'Dd')
    const { snapshots } = await call('snapshot.list', { id: machine.id })
    for (const [name, answer] of [['second', 'Cc'], ['third', 'Dd']]) {
      const { id: snapshotId } = snapshots.find((snapshot) => snapshot.name === name) ?? { id: '' }
      await call('snapshot.restore', { id: machine.id, snapshotId, keepCurrent: false, start: true })
      await rig.type(machine.id, answer)
    }
  })

  it('that are damaged pause the machine when the memory is needed, and it goes on once they are right', async () => {
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id })
    const path = stateOf(snapshotId)
    const right = readFileSync(path)
    writeFileSync(path, damaged(path))
    await call('snapshot.restore', { id, snapshotId, start: true })
    for (let i = 0; i < 400 && (await rig.stateOf(id)) !== 'paused'; i++) await new Promise((resolve) => setTimeout(resolve, 20))
    const paused = await call('machine.get', { id })
    expect(paused.state).toBe('paused')
    expect(inEnglish(paused.problem ?? '')).toMatch(/state\.nbs.* is damaged: memory chunk \d+ .*without the saved state/)
    // Tried again in vain.
    await call('machine.resume', { id })
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await call('machine.get', { id })).toMatchObject({ state: 'paused', problem: paused.problem })
    // A full state of memory that cannot be had is none.
    writeFileSync(path, right)
    await call('machine.resume', { id })
    await rig.until('the rest of the memory', () => readdirSync(rig.machineFolder(id, 'saved')).length === 0)
    await rig.type(id, 'Bb')
    expect(await call('machine.get', { id })).not.toHaveProperty('problem')
  })

  it('that are damaged can be left behind', async () => {
    const { id: snapshotId } = await call('snapshot.take', { id })
    const path = stateOf(snapshotId)
    const hurt = damaged(path)
    rmSync(path)
    writeFileSync(path, hurt)
    await call('snapshot.restore', { id, snapshotId, start: true })
    for (let i = 0; i < 400 && (await rig.stateOf(id)) !== 'paused'; i++) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(await rig.stateOf(id)).toBe('paused')
    await call('machine.forceStop', { id })
    rig.said = ''
    await call('machine.start', { id, fresh: true })
    await rig.until('a fresh guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
  })
})

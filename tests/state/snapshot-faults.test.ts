/**
 * Operations on a machine with memory, each under each fault: a killed manager, a killed process of the machine, a full host disk, a
 * read-only folder. The machine is afterwards in the old or in the new state, its guest goes on from there, and no file of another
 * machine has changed.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { HOST_FAULTS, onOwnFileSystem } from '../fixtures/host-faults'
import { FaultsRig, type Operation, type View } from './faults-rig'

const operations: Record<string, Operation> = {
  take: { call: 'snapshot.take', params: { id: '{id}', name: 'new' }, running: true },
  restore: { call: 'snapshot.restore', params: { id: '{id}', snapshotId: '{first}', keepCurrent: false } },
  'restore with undo': { call: 'snapshot.restore', params: { id: '{id}', snapshotId: '{first}' }, running: true },
  'delete (a base of others)': { call: 'snapshot.delete', params: { id: '{id}', snapshotId: '{first}' } },
  rename: { call: 'snapshot.change', params: { id: '{id}', snapshotId: '{second}', name: 'renamed' } },
  suspend: { call: 'machine.suspend', params: { id: '{id}' }, running: true },
  resume: { call: 'machine.start', params: { id: '{id}' } },
  'discard the saved state': { call: 'machine.discardSaved', params: { id: '{id}' } },
  'restore the disks alone': { call: 'snapshot.restore', params: { id: '{id}', snapshotId: '{first}', keepCurrent: false, withState: false } },
  fork: { call: 'machine.fork', params: { id: '{id}', name: 'made' }, running: true },
  'full clone of a snapshot': { call: 'machine.clone', params: { id: '{id}', name: 'made', snapshotId: '{second}' } },
  'linked clone of a snapshot': { call: 'machine.clone', params: { id: '{id}', name: 'made', snapshotId: '{second}', linked: true } },
  'template of a running machine': { call: 'template.create', params: { id: '{id}', name: 'made' }, running: true },
  'machine from a template with a state': { call: 'machine.create', params: { settings: { name: 'made' }, template: '{template}' } },
}
const names = Object.keys(operations)
const namesRunning = names.filter((name) => operations[name].running)
/** Of each operation, so many places to be cut off at. */
const KILLS = 6
/** Those that can be done where there is none. */
const WITHOUT_ROOM = ['resume', 'discard the saved state']
/** MiB: the library, and what the operations that succeed need. */
const ROOM_MIB = 96

/** States that are the old or the new one as well: whole, and nothing of them lost. */
const alsoWhole: Record<string, (before: View, after: View) => View[]> = {
  // The new machine has not been started yet.
  fork: (_before, after) => [{ ...after, machines: after.machines.map((machine) => (machine.name === 'made' ? { ...machine, state: 'saved' } : machine)) }],
}

describe('a machine with snapshots of its memory, under faults', () => {
  let faults: FaultsRig
  const call: FaultsRig['call'] = (name, params) => faults.call(name, params)

  beforeAll(async () => {
    faults = new FaultsRig(buildVmHostWithInterpreter())
    await faults.prepare()
  })
  afterAll(() => faults.close())
  beforeEach(() => faults.reset())

  /** The library after the operation, or as much of it as was come to. */
  async function viewAfter(operation: Operation, killAt?: number): Promise<{ view: View; steps: number; ms: number }> {
    await faults.reset()
    const { steps, ms } = await faults.perform(operation, killAt) ?? { steps: 0, ms: 0 }
    await faults.reopen()
    return { view: await faults.view(), steps, ms }
  }

  it.each(names)('%s: the manager killed', async (name) => {
    const operation = operations[name]
    const { view: after, steps } = await viewAfter(operation)
    const { view: before } = await viewAfter(operation, 0)
    expect(after, 'the operation changes something').not.toEqual(before)
    const whole = [before, after, ...(alsoWhole[name]?.(before, after) ?? [])]
    const others = faults.others()
    for (let i = 1; i <= KILLS; i++) {
      const { view } = await viewAfter(operation, Math.min(steps - 1, Math.ceil((steps * i) / KILLS)))
      expect(whole).toContainEqual(view)
      expect(faults.others()).toEqual(others)
      await faults.expectTidy()
    }
    await faults.expectUsable()
  })

  it.each(namesRunning)("%s: the machine's process killed", async (name) => {
    const operation = operations[name]
    const { view: after, ms } = await viewAfter(operation)
    const { view: before } = await viewAfter(operation, 0)
    const whole = [before, after, ...(alsoWhole[name]?.(before, after) ?? [])]
    const others = faults.others()
    for (const part of [0.1, 0.4, 0.7]) {
      await faults.reset()
      await faults.reopen()
      await call('machine.start', { id: faults.ids.id })
      const { pid } = await call('machine.get', { id: faults.ids.id })
      const outcome = call(operation.call as 'snapshot.take', JSON.parse(faults.filled(operation.params)) as { id: string }).then(() => 'done', (error: { code: string }) => error.code)
      await new Promise((resolve) => setTimeout(resolve, part * ms))
      try {
        process.kill(pid ?? 0, 'SIGKILL')
      } catch {
        // It has ended by itself: the operation was as quick as that.
      }
      expect(['done', 'machine-crashed']).toContain(await outcome)
      await faults.rig.manager.shutdown()
      await faults.reopen()
      expect(whole).toContainEqual(await faults.view())
      expect(faults.others()).toEqual(others)
      await faults.expectTidy()
    }
    await faults.expectUsable()
  })

  it.each(names.flatMap((name) => (Object.keys(HOST_FAULTS) as (keyof typeof HOST_FAULTS)[]).map((fault) => [name, fault] as const)))('%s: %s', async (name, faultName) => {
    const operation = operations[name]
    const fault = HOST_FAULTS[faultName]
    await onOwnFileSystem(faults.machines, ROOM_MIB, async () => {
      await faults.reopen()
      if (operation.running) await call('machine.start', { id: faults.ids.id })
      await call('console.open', { id: faults.ids.id, port: 'ttyS0' })
      await faults.rig.until('the memory', () => !faults.hasUsedState)
      const pids = (await call('machine.list', {})).flatMap(({ pid }) => (pid === undefined ? [] : [pid]))
      const [before, others] = [await faults.view(), faults.others()]
      fault.begin(faults.machines, pids)
      const failed = await call(operation.call as 'snapshot.take', JSON.parse(faults.filled(operation.params)) as { id: string }).then(() => 'done', (error: { code: string }) => error.code)
      fault.end(faults.machines, pids)
      if (name.startsWith('delete') && fault.code === 'disk-full') {
        // It makes room. Where there is none all the same, the rest of it is done at the next start.
        expect(failed).toBe('done')
        expect((await faults.view()).snapshots.map((entry) => [entry.name, entry.parent])).toEqual([['second', null]])
        await faults.rig.manager.shutdown()
        await faults.reopen()
        await call('console.open', { id: faults.ids.id, port: 'ttyS0' })
        expect((await faults.view()).snapshots.map((entry) => [entry.name, entry.parent])).toEqual([['second', null]])
      } else if (WITHOUT_ROOM.includes(name) && fault.code === 'disk-full') {
        expect(failed).toBe('done')
      } else {
        // Of a machine that is to run, its disk that cannot be written is found first.
        expect(failed).toBe(name === 'resume' ? 'file-unreadable' : fault.code)
        expect(await faults.view()).toEqual(before)
      }
      if (await faults.rig.stateOf(faults.ids.id) === 'saved') await call('machine.start', { id: faults.ids.id })
      await faults.rig.until('the memory', () => !faults.hasUsedState)
      await faults.expectTidy()
      expect(faults.others()).toEqual(others)
      if (operation.call === 'machine.discardSaved' && failed === 'done') expect(await faults.rig.stateOf(faults.ids.id)).toBe('stopped')
      else {
        await faults.rig.type(faults.ids.id, 'Dd')
        await call('machine.forceStop', { id: faults.ids.id })
      }
      await faults.expectUsable()
      await faults.rig.manager.shutdown()
    })
  })
})

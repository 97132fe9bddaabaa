import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { ManagerRig } from './manager-rig'

describe('suspend and resume', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const type = (id: string, answer: string): Promise<void> => rig.type(id, answer)
  const savedFolder = (id: string): string => rig.machineFolder(id, 'saved')

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 24)
    await rig.open()
  })
  afterEach(() => rig.close())

  it('goes on in another process, with registers and memory', async () => {
    const { id } = await rig.started()
    await type(id, 'Aa')
    await type(id, 'Bb')
    const first = (await call('machine.get', { id })).pid
    const figures = await call('machine.suspend', { id })
    expect(figures.memoryBytes).toBeGreaterThan(24 << 20)
    const saved = await call('machine.get', { id })
    expect(saved).toMatchObject({ state: 'saved' })
    expect(saved.pid).toBeUndefined()
    expect(readdirSync(savedFolder(id))).toEqual(['state.nbs'])

    await call('machine.start', { id })
    expect((await call('machine.get', { id })).pid).not.toBe(first)
    await type(id, 'Cc')
    // Loaded completely, the file has gone: it must never be used again.
    await rig.until('the end of loading', () => readdirSync(savedFolder(id)).length === 0)
    await call('machine.suspend', { id })
    await call('machine.start', { id })
    await type(id, 'Dd')
    expect(rig.said).toBe('!AaBbCcDd')
  })

  it('goes on with the most memory that a machine can have', async () => {
    const { id } = await rig.started({ memoryMiB: 3072 })
    await type(id, 'Aa')
    await call('machine.suspend', { id })
    await call('machine.start', { id })
    await type(id, 'Bb')
    const { id: snapshotId } = await call('snapshot.take', { id })
    await type(id, 'Cc')
    await call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
    await type(id, 'Cc')
  })

  it('is refused with the reason where it does not fit; starting without it works', async () => {
    const { id } = await rig.started()
    await type(id, 'Aa')
    await call('machine.suspend', { id })
    await call('machine.update', { id, settings: { memoryMiB: 128 } })
    await expect(call('machine.start', { id })).rejects.toMatchObject({
      code: 'state-mismatch', message: expect.stringMatching(/memory in MiB \(saved: 96; now: 128\).*without the saved state/) as string,
      details: { differences: [{ what: 'memory in MiB', saved: '96', now: '128' }] },
    })
    expect(await rig.stateOf(id)).toBe('saved')
    await call('machine.update', { id, settings: { memoryMiB: 96 } })

    const path = join(savedFolder(id), 'state.nbs')
    const bytes = readFileSync(path)
    const damage = async (at: number): Promise<void> => {
      const copy = Buffer.from(bytes)
      copy[at] ^= 0x40
      writeFileSync(path, copy)
      await expect(call('machine.start', { id }), `byte ${at}`).rejects.toMatchObject({ code: expect.stringMatching(/^state-(damaged|mismatch)$/) as string })
      expect(await rig.stateOf(id)).toBe('saved')
    }
    for (const at of [0, 9, 20, bytes.length - 30, bytes.length - 60, bytes.length - 100]) await damage(at)
    writeFileSync(path, bytes.subarray(0, bytes.length - 1000))
    await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'state-damaged', message: expect.stringContaining('not written completely') as string })
    writeFileSync(path, 'something else')
    await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'state-damaged' })

    writeFileSync(path, bytes)
    await call('machine.start', { id })
    await type(id, 'Bb')
    await call('machine.suspend', { id })
    rig.said = ''
    await call('machine.start', { id, fresh: true })
    await rig.until('a fresh guest', () => rig.said.includes('!'))
    await type(id, 'Aa')
    expect(existsSync(path)).toBe(false)
  })

  it('is kept when the app ends, and goes on when it starts again', async () => {
    const { id } = await rig.started()
    await type(id, 'Aa')
    await rig.manager.shutdown('suspend')
    expect(readdirSync(savedFolder(id)).sort()).toEqual(['resume-on-start', 'state.nbs'])
    await rig.open()
    expect(await rig.stateOf(id)).toBe('saved')
    await rig.manager.resumeSuspended()
    expect(await rig.stateOf(id)).toBe('running')
    await call('console.open', { id, port: 'ttyS0' })
    await type(id, 'Bb')
  })

  it('is discarded, cancelled or killed without leaving a half state', async () => {
    const { id } = await rig.started()
    await type(id, 'Aa')
    const suspending = call('machine.suspend', { id })
    const [task] = await call('task.list', {})
    await call('task.cancel', { id: task.id })
    await expect(suspending).rejects.toMatchObject({ code: 'cancelled' })
    expect(await rig.stateOf(id)).toBe('running')
    await type(id, 'Bb')
    expect(readdirSync(savedFolder(id))).toEqual([])

    // Killed at several moments of saving: the state is there whole, or not at all.
    for (const delay of [5, 40, 120, 300]) {
      const { pid } = await call('machine.get', { id })
      const outcome = call('machine.suspend', { id }).then(() => 'saved', () => 'crashed')
      await new Promise((resolve) => setTimeout(resolve, delay))
      if (pid !== undefined && (await rig.stateOf(id)) === 'saving') process.kill(pid, 'SIGKILL')
      await outcome
      const state = await rig.stateOf(id)
      expect(['saved', 'crashed']).toContain(state)
      rig.said = ''
      await call('machine.start', { id })
      if (state === 'crashed') await rig.until('a fresh guest', () => rig.said.includes('!'))
      const before = rig.said.length
      await call('console.write', { id, port: 'ttyS0', text: 'x' })
      await rig.until('an answer', () => rig.said.length >= before + 2)
      await rig.until('the end of loading', () => readdirSync(savedFolder(id)).length === 0)
    }
    await call('machine.suspend', { id })
    await call('machine.discardSaved', { id })
    expect(await rig.stateOf(id)).toBe('stopped')
    expect(readdirSync(savedFolder(id))).toEqual([])
    await expect(call('machine.discardSaved', { id })).rejects.toMatchObject({ code: 'wrong-state' })
  })
})

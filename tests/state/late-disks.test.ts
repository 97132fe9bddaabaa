/**
 * A machine runs while its disks are copied, for a snapshot of it or from the one it goes back to, where that takes long. The program
 * that copies is made to take longer still, so that everything can happen meanwhile.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { MachineSettings } from '../../src/preload/contract'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { buildTinyKernel } from '../fixtures/tiny-kernel'
import { ManagerRig } from './manager-rig'

const DISK_BYTES = 40 << 20
const SECONDS = 3
const PATH = process.env.PATH ?? ''

/** Resets itself when anything is typed. */
const RESETS = `
  mov dx, 0x3f8
  mov al, '!'
  out dx, al
  hear
  mov al, 0xfe
  out 0x64, al
  jmp $`

describe('disks that are copied while their machine runs', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  let disk: string
  let id: string
  let snapshotId: string
  const tools = mkdtempSync(join(tmpdir(), 'nestbox-slow-'))
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)
  const fill = (value: number): void => writeFileSync(disk, Buffer.alloc(DISK_BYTES, value))
  const onDisk = (): number => readFileSync(disk)[DISK_BYTES - 1]
  const fillTask = async () => (await call('task.list', {})).findLast(({ kind }) => kind === 'snapshot.fill')

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
    const cp = execFileSync('sh', ['-c', 'command -v cp'], { encoding: 'utf8' }).trim()
    writeFileSync(join(tools, 'cp'), `#!/bin/sh\nsleep ${SECONDS}\nexec ${cp} "$@"\n`)
    chmodSync(join(tools, 'cp'), 0o755)
    return () => rmSync(tools, { recursive: true, force: true })
  })
  beforeEach(() => void (rig = new ManagerRig(vmHostEntry, 8)))
  afterEach(async () => {
    process.env.PATH = PATH
    await rig.close()
  })

  const copySlowly = (): void => void (process.env.PATH = `${tools}${delimiter}${PATH}`)

  /**
   * A machine that runs, and has a snapshot with another disk than it has now; from here on the manager copies slowly.
   * @param isMachineSlow the machine's own process does so too, which copies for snapshots of it
   */
  async function prepare(settings: Partial<MachineSettings> = {}, isMachineSlow = false): Promise<void> {
    if (isMachineSlow) copySlowly()
    await rig.open()
    ;({ id } = await rig.create(settings))
    disk = rig.machineFolder(id, 'disk.img')
    fill(1)
    await call('machine.update', { id, settings: { disks: [{ path: disk, format: 'raw', readOnly: false }] } })
    await call('console.open', { id, port: 'ttyS0' })
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    if (settings.kernel === undefined) await rig.type(id, 'Aa')
    ;({ id: snapshotId } = await call('snapshot.take', { id, name: 'first' }))
    if (settings.kernel === undefined) await rig.type(id, 'Bb')
    fill(2)
    copySlowly()
  }

  async function restore(keepCurrent = false): Promise<void> {
    await call('snapshot.restore', { id, snapshotId, keepCurrent, start: true })
    expect(await rig.stateOf(id)).toBe('running')
    expect(existsSync(disk), 'the machine waited for its disk').toBe(false)
  }

  function expectTidy(): void {
    expect(readdirSync(rig.machineFolder(id)).filter((name) => name.includes('restored'))).toEqual([])
    expect(readdirSync(rig.machineFolder(id, 'snapshots')).filter((name) => name.startsWith('.') || name === 'switch.json')).toEqual([])
  }

  it.each([true, false])('the machine runs at once; who wants its disks waits (the present kept: %s)', async (keepCurrent) => {
    await prepare()
    await restore(keepCurrent)
    await rig.type(id, 'Bb')
    expect(await fillTask()).toMatchObject({ state: 'running', cancellable: false })
    await expect(call('machine.delete', { id })).rejects.toMatchObject({ code: 'machine-busy' })
    const { id: second } = await call('snapshot.take', { id, name: 'second' })
    expect(onDisk()).toBe(1)
    expect(readFileSync(rig.machineFolder(id, 'snapshots', second, 'disk0.img'))[0]).toBe(1)
    expect(await fillTask()).toMatchObject({ state: 'done' })
    expect((await call('snapshot.list', { id })).snapshots.map(({ kind }) => kind)).toEqual(keepCurrent ? ['user', 'undo', 'user'] : ['user', 'user'])
    expectTidy()
    await rig.type(id, 'Cc')
  })

  /** Begins to take another snapshot. @returns `outcome`: what becomes of it */
  async function taking(): Promise<{ outcome: Promise<string> }> {
    const outcome = call('snapshot.take', { id, name: 'second' }).then(() => 'done', ({ code }: { code: string }) => code)
    const folders = (): string[] => readdirSync(rig.machineFolder(id, 'snapshots')).filter((name) => name.startsWith('.new'))
    await rig.until('the copy', () => folders().some((name) => existsSync(rig.machineFolder(id, 'snapshots', name, 'disk0.img'))))
    expect(await Promise.race([outcome, new Promise((resolve) => setTimeout(() => resolve('copying'), 200))])).toBe('copying')
    return { outcome }
  }

  it('a guest that ends by itself meanwhile leaves a whole snapshot', async () => {
    const kernel = join(rig.home, 'resets.bin')
    writeFileSync(kernel, buildTinyKernel(RESETS))
    await prepare({ kernel }, true)
    const { outcome } = await taking()
    await call('console.write', { id, port: 'ttyS0', text: 'x' })
    expect(await outcome).toBe('done')
    await rig.until('the end', () => rig.states.at(-1) === 'stopped')
    const second = (await call('snapshot.list', { id })).snapshots.find(({ name }) => name === 'second')!
    expect(second.hasState).toBe(true)
    expect(readFileSync(rig.machineFolder(id, 'snapshots', second.id, 'disk0.img'))[0]).toBe(2)
    expectTidy()
  })

  it('a machine that is stopped meanwhile has no snapshot of that, one that is suspended by quitting is', async () => {
    await prepare({}, true)
    const stopped = await taking()
    await call('machine.forceStop', { id })
    expect(await stopped.outcome).not.toBe('done')
    expectTidy()
    rig.said = ''
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
    const quitting = await taking()
    await rig.manager.shutdown('suspend')
    expect(await quitting.outcome).toBe('cancelled')
    process.env.PATH = PATH
    await rig.open()
    await rig.manager.resumeSuspended()
    await call('console.open', { id, port: 'ttyS0' })
    await rig.type(id, 'Bb')
    expect((await call('snapshot.list', { id })).snapshots.map(({ name }) => name)).toEqual(['first'])
    expectTidy()
  })

  it('the machine can be stopped meanwhile, started again, suspended, and the manager ended', async () => {
    await prepare()
    await restore()
    await call('machine.forceStop', { id })
    expect(existsSync(disk)).toBe(false)
    rig.said = ''
    await call('machine.start', { id })
    expect(existsSync(disk)).toBe(false)
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
    await call('machine.suspend', { id })
    await call('machine.start', { id })
    await rig.type(id, 'Bb')
    await rig.manager.shutdown()
    expect(onDisk()).toBe(1)
    expectTidy()
    await rig.open()
  })

  it('killed meanwhile, everything is done at the next start, beside the machine too', async () => {
    await prepare()
    await restore()
    const machines = join(rig.home, 'machines')
    // What a killed manager and machine leave is what is there at an instant.
    execFileSync('cp', ['-a', machines, `${machines}.then`])
    await rig.manager.shutdown()
    rmSync(machines, { recursive: true })
    execFileSync('mv', [`${machines}.then`, machines])
    expect(existsSync(disk)).toBe(false)
    await rig.open()
    await call('console.open', { id, port: 'ttyS0' })
    rig.said = ''
    await call('machine.start', { id })
    expect(existsSync(disk)).toBe(false)
    await rig.until('the guest', () => rig.said.includes('!'))
    await call('snapshot.take', { id, name: 'second' })
    expect(onDisk()).toBe(1)
    expectTidy()
  })

  it('where they cannot be copied the machine is stopped, with the reason, and has them once they can', async () => {
    await prepare()
    await restore()
    const kept = rig.machineFolder(id, 'snapshots', snapshotId, 'disk0.img')
    renameSync(kept, `${kept}.away`)
    mkdirSync(kept)
    await rig.until('the end', () => rig.states.at(-1) === 'stopped')
    expect(await fillTask()).toMatchObject({ state: 'failed' })
    expect(readFileSync(rig.machineFolder(id, 'logs', 'machine.log'), 'utf8')).toContain('its disks could not be brought back')
    await expect(call('machine.start', { id })).rejects.toMatchObject({ code: 'internal' })
    rmdirSync(kept)
    renameSync(`${kept}.away`, kept)
    rig.said = ''
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    expect(onDisk()).toBe(1)
    expectTidy()
  })
})

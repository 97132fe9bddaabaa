/** How a restore gets its machine running: built by a process beside the one that runs, and with the disks of the snapshot. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MachineProcess } from '../../src/main/engines/embedded/machine-process'
import { PreparedProcess } from '../../src/main/engines/embedded/prepared-process'
import { startProcess, type StartedProcess } from '../../src/main/engines/embedded/spare-processes'
import { openDisk } from '../../src/main/host/disks/open'
import { inEnglish } from '../../src/preload/contract'
import type { LaunchConfig } from '../../src/main/vm-host/protocol'
import { buildVmHostWithInterpreter } from '../fixtures/build-vm-host'
import { checkSound } from '../fixtures/qemu-img'
import { ManagerRig } from './manager-rig'

const AHEAD = 'the machine was built ahead'
const OTHER_AHEAD = 'built ahead is not the one'
const MIB = 1 << 20

describe('a restore', () => {
  let vmHostEntry: string
  let rig: ManagerRig
  let disk: string
  const call: ManagerRig['call'] = (name, params) => rig.call(name, params)

  beforeAll(() => {
    vmHostEntry = buildVmHostWithInterpreter()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 4)
    disk = join(rig.home, 'disk.qcow2')
    await rig.open()
  })
  afterEach(() => rig.close())

  async function write(text: string): Promise<void> {
    const image = await openDisk(disk, false, 'qcow2')
    await image.write(512, Buffer.from(text.padEnd(512)))
    await image.close()
  }

  async function read(path: string): Promise<string> {
    const image = await openDisk(path, true, 'qcow2')
    const bytes = Buffer.alloc(512)
    await image.read(512, bytes)
    await image.close()
    return bytes.toString().trim()
  }

  it('runs what was prepared, and gives the present disk to the snapshot that keeps it', async () => {
    await call('disk.create', { path: disk, format: 'qcow2', sizeBytes: 4 * MIB })
    await write('one')
    const { id } = await rig.create({ disks: [{ path: disk, format: 'qcow2', readOnly: false }] })
    await call('console.open', { id, port: 'ttyS0' })
    await call('machine.start', { id })
    await rig.until('the guest', () => rig.said.includes('!'))
    await rig.type(id, 'Aa')
    await call('machine.suspend', { id })
    const { id: first } = await call('snapshot.take', { id, name: 'first' })
    await write('two')
    await call('machine.start', { id })
    await rig.type(id, 'Bb')
    const inode = statSync(disk).ino
    const { pid } = await call('machine.get', { id })

    const { undo } = await call('snapshot.restore', { id, snapshotId: first, start: true })
    await rig.type(id, 'Bb')
    expect((await call('machine.get', { id })).pid).not.toBe(pid)
    const kept = rig.machineFolder(id, 'snapshots', undo!, 'disk0.img')
    expect(statSync(kept)).toMatchObject({ ino: inode, nlink: 1 })
    expect([await read(kept), await read(rig.machineFolder(id, 'snapshots', first, 'disk0.img'))]).toEqual(['two', 'one'])
    await call('machine.forceStop', { id })
    expect(await read(disk)).toBe('one')
    for (const path of [disk, kept]) checkSound(path)
    const log = readFileSync(rig.machineFolder(id, 'logs', 'machine.log'), 'utf8')
    expect(log).toContain(AHEAD)
  })

  it('that is cancelled leaves everything as it was', async () => {
    const raw = join(rig.home, 'disk.raw')
    const fill = (value: number): void => writeFileSync(raw, Buffer.alloc(96 * MIB, value))
    fill(1)
    const { id } = await rig.create({ disks: [{ path: raw, format: 'raw', readOnly: false }] })
    const { id: snapshotId } = await call('snapshot.take', { id, name: 'first' })
    fill(2)
    const before = await call('snapshot.list', { id })
    const outcome = call('snapshot.restore', { id, snapshotId }).then(() => 'done', (error: { code: string }) => error.code)
    await rig.until('the copy', () => existsSync(`${raw}.nestbox-restored`))
    const task = (await call('task.list', {})).find(({ kind, state }) => kind === 'snapshot.restore' && state === 'running')
    await call('task.cancel', { id: task!.id })
    // Where the file system shares blocks it may have been quicker.
    const isDone = await outcome === 'done'
    if (!isDone) {
      expect(await outcome).toBe('cancelled')
      expect(await call('snapshot.list', { id })).toEqual(before)
    }
    expect(readFileSync(raw)[0]).toBe(isDone ? 1 : 2)
    expect(readdirSync(rig.home).filter((name) => name.includes('restored'))).toEqual([])
    expect(readdirSync(rig.machineFolder(id, 'snapshots')).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('that is cancelled while its machine is built lets the other one run on', async () => {
    const { id } = await rig.started()
    await rig.type(id, 'Aa')
    const { id: snapshotId } = await call('snapshot.take', { id })
    await rig.type(id, 'Bb')
    const { pid } = await call('machine.get', { id })
    const outcome = call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true }).then(() => 'done', (error: { code: string }) => error.code)
    const task = (await call('task.list', {})).find(({ kind, state }) => kind === 'snapshot.restore' && state === 'running')
    await call('task.cancel', { id: task!.id })
    expect(await outcome).toBe('cancelled')
    expect(await call('machine.get', { id })).toMatchObject({ state: 'running', pid })
    await rig.type(id, 'Cc')
  })

  describe('its process', () => {
    const started: StartedProcess[] = []
    const logged: string[] = []
    let config: LaunchConfig
    let said = ''
    let machine: MachineProcess | undefined

    beforeEach(async () => {
      said = ''
      logged.length = 0
      const { id } = await rig.started()
      await rig.type(id, 'Aa')
      await call('machine.suspend', { id })
      writeFileSync(disk, Buffer.alloc(MIB))
      config = {
        name: 'tally', uuid: id, generationId: id, memoryMiB: 96, cpuProfile: 'nestbox64', kernel: join(rig.home, 'tally.bin'), initrd: '', commandLine: '', disks: [],
        onReset: 'stop', maxTier: 0, logDir: rig.home,
        savedState: { path: rig.machineFolder(id, 'saved', 'state.nbs'), memoryDir: rig.machineFolder(id, 'memory'), use: 'restore' },
      }
    })
    afterEach(async () => {
      await machine?.stop()
      for (const { child } of started) child.kill('SIGKILL')
    })

    function prepare(of: LaunchConfig): PreparedProcess {
      const process = startProcess(vmHostEntry)
      started.push(process)
      return new PreparedProcess(process, of, [])
    }

    async function answers(process: StartedProcess): Promise<void> {
      machine = new MachineProcess({
        process, config,
        events: {
          onHeartbeat: () => undefined, onLog: (line) => void logged.push('phrase' in line ? inEnglish(line.phrase) : line.text), onEnd: () => undefined,
          onOutput: (_port, bytes) => {
            said += Buffer.from(bytes).toString('latin1')
          },
        },
      })
      await machine.running
      machine.send({ type: 'input', port: 'ttyS0', bytes: Uint8Array.of(1) })
      await rig.until('an answer', () => said === 'Bb')
    }

    it.each<[string, (of: LaunchConfig) => LaunchConfig]>([
      ['with another generation', (of) => ({ ...of, generationId: of.uuid.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) })],
      ['with another kernel', (of) => ({ ...of, kernel: disk })],
    ])('builds the machine anew where the one prepared is another: %s', async (_what, change) => {
      await answers(prepare(change(config)).take()!)
      expect(logged.join()).toContain(OTHER_AHEAD)
    })

    it.each<[string, (of: LaunchConfig) => LaunchConfig]>([
      ['a state that is not there', (of) => ({ ...of, savedState: { ...of.savedState!, path: `${disk}.none` } })],
      ['a state of another machine', (of) => ({ ...of, memoryMiB: 128 })],
    ])('builds the machine when it is launched where nothing could be prepared: %s', async (_what, change) => {
      await answers(prepare(change(config)).take()!)
      expect(logged.filter((text) => /ahead/.test(text))).toEqual([])
    })

    it('takes the one that was prepared', async () => {
      await answers(prepare(config).take()!)
      expect(logged).toContain(AHEAD)
    })

    it('is not used where it died', async () => {
      const prepared = prepare(config)
      const { child } = started.at(-1)!
      child.kill('SIGKILL')
      await expect(prepared.built).rejects.toMatchObject({ end: { kind: 'crashed' } })
      expect(prepared.take()).toBeUndefined()
    })

    it('says when it is built, and why it is not', async () => {
      await prepare(config).built
      const none = { ...config, savedState: { ...config.savedState!, path: `${disk}.none` } }
      await expect(prepare(none).built).rejects.toMatchObject({ end: { kind: 'refused', code: 'disk-io', message: expect.stringContaining('disk.qcow2.none') as string } })
      await expect(prepare({ ...config, memoryMiB: 128 }).built).rejects.toMatchObject({ end: { kind: 'refused', code: 'state-mismatch' } })
    })

    it('is gone where it is not wanted', async () => {
      const prepared = prepare(config)
      const { child } = started.at(-1)!
      const gone = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)))
      prepared.drop()
      expect(await gone).toBe('SIGKILL')
    })
  })
})

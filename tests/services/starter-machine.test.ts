/** The whole way of a first-time user, below the interface: a machine from the starter image on our own core. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CallName, CallParams, CallResult, Machine, Task } from '../../src/preload/contract'
import { createManager, type Manager, type ManagerClient } from '../../src/main/services/manager'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { DATA_DISK_BYTES } from '../../src/main/services/disks/data-disk'
import { buildVmHost } from '../fixtures/build-vm-host'
import { checkSound } from '../fixtures/qemu-img'

const BOOT_MS = 180_000

describe('a machine from the starter image', () => {
  let home: string
  let manager: Manager
  let client: ManagerClient
  let machine: Machine
  const tasks: Task[] = []
  const said = { ttyS0: '', hvc0: '' }

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-starter-machine-'))
    manager = await createManager({ home, vmHostEntry: buildVmHost() })
    client = manager.connect((name, payload) => {
      if (name === 'task.changed') tasks.push(payload as Task)
      if (name !== 'console.data') return
      const chunk = payload as { consoleId: string; port: 'ttyS0' | 'hvc0'; text: string; bytes: number }
      said[chunk.port] += chunk.text
      void client.call('console.ack', { consoleId: chunk.consoleId, bytes: chunk.bytes })
    })
    machine = await call('machine.create', { settings: { name: 'first', memoryMiB: 256 }, image: 'starter' })
    for (const port of ['ttyS0', 'hvc0'] as const) await call('console.open', { id: machine.id, port })
  }, BOOT_MS)

  afterAll(async () => {
    await manager.shutdown()
    rmSync(home, { recursive: true, force: true })
  })

  async function call<N extends CallName>(name: N, params: CallParams<N>): Promise<CallResult<N>> {
    const outcome = await client.call(name, params)
    if (!outcome.ok) throw new Error(`${name}: ${outcome.error.code}: ${outcome.error.message}`)
    return outcome.result as CallResult<N>
  }

  async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    const end = Date.now() + BOOT_MS
    while (!await condition()) {
      if (Date.now() > end) throw new Error(`waited in vain for ${what}; the console said:\n${said.ttyS0.slice(-1500)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  const state = async (): Promise<string> => (await call('machine.get', { id: machine.id })).state

  /** The image is sound, and so is the file system in it. @returns what the guest's note says */
  function checkDisk(): string {
    const raw = join(home, 'data.raw')
    checkSound(machine.disks[0].path)
    execFileSync('qemu-img', ['convert', '-O', 'raw', machine.disks[0].path, raw])
    execFileSync('/sbin/e2fsck', ['-fn', raw], { stdio: 'pipe' })
    return execFileSync('/sbin/debugfs', ['-R', 'cat note', raw], { encoding: 'utf8', stdio: 'pipe' })
  }

  async function boot(): Promise<void> {
    said.ttyS0 = said.hvc0 = ''
    await call('machine.start', { id: machine.id })
    await until('the prompt', () => said.ttyS0.includes('# '))
  }

  it('has files of its own', () => {
    expect(tasks.at(-1)).toMatchObject({ kind: 'image.starter', state: 'done', progress: 1 })
    expect(machine.kernel.startsWith(join(home, 'machines', machine.id))).toBe(true)
    expect(readFileSync(machine.kernel).subarray(0x202, 0x206).toString()).toBe('HdrS')
    expect(existsSync(machine.initrd)).toBe(true)
    expect(machine.commandLine).toBe('console=ttyS0 nestbox.data=/dev/vda')
    expect(machine.disks).toEqual([{ path: join(home, 'machines', machine.id, 'disks', 'data.qcow2'), format: 'qcow2', readOnly: false }])
    expect(statSync(machine.disks[0].path).blocks * 512).toBeLessThan(8 << 20)
  })

  it('boots to a shell on both consoles and hears what is typed', async () => {
    await boot()
    await call('console.write', { id: machine.id, port: 'ttyS0', text: 'uname -m; echo answer-$((6*7))\r' })
    await until('the answer', () => said.ttyS0.includes('answer-42'))
    expect(said.ttyS0).toContain('x86_64')
    await until('the prompt on hvc0', () => said.hvc0.includes('# '))
    await call('console.write', { id: machine.id, port: 'hvc0', text: 'echo there-$((5*5))\r' })
    await until('the answer on hvc0', () => said.hvc0.includes('there-25'))
  }, BOOT_MS)

  it('keeps what is written to /data', async () => {
    expect(said.ttyS0).toMatch(/Files in \/data are kept: your disk has 7\.\dG free\./)
    await call('console.write', { id: machine.id, port: 'ttyS0', text: 'pwd; echo kept-$((2*21)) > note; sync; cat note\r' })
    await until('the note', () => said.ttyS0.includes('kept-42'))
    expect(said.ttyS0).toMatch(/^\/data\r?$/m)
  }, BOOT_MS)

  it('goes off by its power button', async () => {
    await call('machine.powerOff', { id: machine.id })
    await until('its end', async () => await state() === 'stopped')
    expect(said.ttyS0).toContain('reboot: Power down')
  }, BOOT_MS)

  it('goes off from inside', async () => {
    await boot()
    await call('console.write', { id: machine.id, port: 'ttyS0', text: 'cat note; poweroff\r' })
    await until('its end', async () => await state() === 'stopped')
    expect(said.ttyS0).toContain('kept-42')
    checkDisk()
  }, BOOT_MS)

  it('makes the file system itself where the host could not', async () => {
    const { path } = machine.disks[0]
    rmSync(path)
    await createQcow2(path, { sizeBytes: DATA_DISK_BYTES })
    await boot()
    await call('console.write', { id: machine.id, port: 'ttyS0', text: 'ls note; echo again-$((2*21)) > note; poweroff\r' })
    await until('its end', async () => await state() === 'stopped')
    expect(said.ttyS0).toContain('No such file')
    expect(said.ttyS0).toContain('Files in /data are kept')
    expect(checkDisk()).toContain('again-42')
  }, BOOT_MS)
})

/** A running Debian guest is forked: both go on, and the copy's kernel knows that it is one. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildVmHost } from '../fixtures/build-vm-host'
import { ManagerRig } from '../state/manager-rig'

const guests = fileURLToPath(new URL('../../.cache/guests', import.meta.url))
const BOOT_TIMEOUT = 240_000
const SAYS_IT_IS_A_COPY = 'crng reseeded due to virtual machine fork'

describe('a fork of a running Linux guest', () => {
  let vmHostEntry: string
  let rig: ManagerRig

  beforeAll(() => {
    vmHostEntry = buildVmHost()
  })
  beforeEach(async () => {
    rig = new ManagerRig(vmHostEntry, 1)
    await rig.open()
  })
  afterEach(() => rig.close())

  async function wait(pattern: RegExp, timeoutMs: number, from = 0): Promise<void> {
    const end = Date.now() + timeoutMs
    while (!pattern.test(rig.said.slice(from))) {
      if (Date.now() > end) throw new Error(`${String(pattern)} did not appear; the console's end:\n${rig.said.slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** One machine speaks at a time: the answer is its own. */
  async function run(id: string, command: string): Promise<string> {
    const from = rig.said.length
    await rig.call('console.write', { id, port: 'ttyS0', text: `${command}; echo "DO""NE:$?"\n` })
    await wait(/DONE:\d+/, 120_000, from)
    return rig.said.slice(from)
  }

  const copies = async (id: string): Promise<number> => Number(/n=(\d+)/.exec(await run(id, `echo n=$(dmesg | grep -c '${SAYS_IT_IS_A_COPY}')`))?.[1])

  // Debian's cloud kernel has no driver for the generation ID; the generic one has.
  it('both answer, and only the copy draws new random numbers', async () => {
    const guest = join(guests, 'amd64')
    expect(existsSync(join(guest, 'vmlinuz')), 'run scripts/setup/guests.mjs').toBe(true)
    const { id } = await rig.create({ name: 'lin', memoryMiB: 256, kernel: join(guest, 'vmlinuz'), initrd: join(guest, 'initrd.gz'), commandLine: 'console=ttyS0 panic=-1' })
    await rig.call('console.open', { id, port: 'ttyS0' })
    await rig.call('machine.start', { id })
    await wait(/NESTBOX-SHELL-READY[\s\S]*# /, BOOT_TIMEOUT)
    await run(id, 'echo parent > /tmp/who')
    const child = await rig.call('machine.fork', { id, name: 'copy' })
    await rig.call('console.open', { id: child.id, port: 'ttyS0' })
    expect(await run(child.id, 'cat /tmp/who; echo child > /tmp/who')).toContain('parent')
    expect(await run(id, 'cat /tmp/who')).toMatch(/parent\s+DONE/)
    expect(await run(child.id, 'cat /tmp/who')).toMatch(/child\s+DONE/)
    expect(await copies(child.id)).toBe(1)
    expect(await copies(id)).toBe(0)
    // A suspended machine that goes on is no copy; one that goes back to a snapshot is.
    await rig.call('machine.forceStop', { id: child.id })
    const { id: snapshotId } = await rig.call('snapshot.take', { id })
    await rig.call('machine.suspend', { id })
    await rig.call('machine.start', { id })
    expect(await copies(id)).toBe(0)
    await rig.call('snapshot.restore', { id, snapshotId, keepCurrent: false, start: true })
    expect(await copies(id)).toBe(1)
  })
})

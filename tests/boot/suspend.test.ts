import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { CallName, CallParams, CallResult } from '../../src/preload/contract'
import { createManager, type Manager } from '../../src/main/services/manager'
import { buildVmHost } from '../fixtures/build-vm-host'

const guests = fileURLToPath(new URL('../../.cache/guests', import.meta.url))
const BOOT_TIMEOUT = 240_000
const MIB = 1 << 20

describe('a running Linux guest', () => {
  let home: string
  let vmHostEntry: string
  let manager: Manager
  let said: string
  let call: <N extends CallName>(name: N, params: CallParams<N>) => Promise<CallResult<N>>
  let id: string

  beforeAll(() => {
    vmHostEntry = buildVmHost()
  })
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'nestbox-suspend-boot-'))
    said = ''
  })
  afterEach(async () => {
    await manager.shutdown()
    rmSync(home, { recursive: true, force: true })
  })

  /** A new manager, as after the app was ended and started again. */
  async function open(): Promise<void> {
    manager = await createManager({ home, vmHostEntry })
    const client = manager.connect((name, payload) => {
      if (name !== 'console.data') return
      const { text, bytes, consoleId } = payload as { text: string; bytes: number; consoleId: string }
      said += text
      void client.call('console.ack', { consoleId, bytes })
    })
    call = async (name, params) => {
      const outcome = await client.call(name, params)
      if (!outcome.ok) throw Object.assign(new Error(outcome.error.message), outcome.error)
      return outcome.result as never
    }
  }

  async function waitFor(pattern: RegExp, timeoutMs: number, from = 0): Promise<string> {
    const end = Date.now() + timeoutMs
    for (;;) {
      const found = pattern.exec(said.slice(from))
      if (found) return found[0]
      if (Date.now() > end) throw new Error(`${String(pattern)} did not appear; the console's end:\n${said.slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  const type = (text: string): Promise<void> => call('console.write', { id, port: 'ttyS0', text })

  async function run(command: string, timeoutMs = 120_000): Promise<string> {
    const from = said.length
    await type(`${command}; echo "DO""NE:$?"\n`)
    await waitFor(/DONE:\d+/, timeoutMs, from)
    return said.slice(from)
  }

  it.each([['amd64-cloud', 'nestbox64'], ['i386', 'nestbox32']])('%s goes on in another process, with a write under way', async (name, cpuProfile) => {
    expect(existsSync(join(guests, name, 'vmlinuz')), `run scripts/setup/guests.mjs: ${name}`).toBe(true)
    const disk = join(home, 'disk.img')
    writeFileSync(disk, '')
    truncateSync(disk, 64 * MIB)
    await open()
    ;({ id } = await call('machine.create', {
      settings: {
        name, cpuProfile, memoryMiB: 256, kernel: join(guests, name, 'vmlinuz'), initrd: join(guests, name, 'initrd.gz'),
        commandLine: 'console=ttyS0 panic=-1', disks: [{ path: disk, format: 'raw', readOnly: false }], onReset: 'stop',
      },
    }))
    await call('console.open', { id, port: 'ttyS0' })
    await call('machine.start', { id })
    await waitFor(/NESTBOX-SHELL-READY[\s\S]*# /, BOOT_TIMEOUT)
    expect(await run('mke2fs /dev/vda >/dev/null 2>&1; mkdir -p /mnt; mount -t ext2 /dev/vda /mnt || mount -t ext4 /dev/vda /mnt')).toContain('DONE:0')
    // Counts aloud; writes and syncs without end, so that requests are under way at whatever instant.
    await type('(i=0; while :; do i=$((i+1)); echo "tick:$i:"; usleep 20000 2>/dev/null || sleep 1; done) &\n')
    await type('(n=0; while [ $n -lt 12 ]; do n=$((n+1)); dd if=/dev/urandom bs=64k count=8 2>/dev/null >> /mnt/file; sync; done; sha256sum /mnt/file > /mnt/sum; sync; echo WRIT""TEN) &\n')
    await waitFor(/tick:3:/, 60_000)

    for (let round = 0; round < 2; round++) {
      const figures = await call('machine.suspend', { id })
      expect(figures.memoryBytes).toBeGreaterThan(10 * MIB)
      expect(readdirSync(join(home, 'machines', id, 'saved'))).toEqual(['state.nbs'])
      if (round === 0) {
        await manager.shutdown()
        await open()
        await call('console.open', { id, port: 'ttyS0' })
      }
      // The journal is told again to a new client: ticks are compared as a whole below.
      const from = said.length
      await call('machine.start', { id })
      await waitFor(/tick:\d+:[\s\S]*tick:\d+:[\s\S]*tick:\d+:/, 60_000, from)
    }
    await waitFor(/WRITTEN/, 180_000)
    const history = (await call('console.history', { id, port: 'ttyS0' })).text
    const ticks = [...history.matchAll(/tick:(\d+):/g)].map((match) => Number(match[1]))
    expect(ticks).toEqual(ticks.map((_, i) => i + 1))
    expect(history).not.toMatch(/I\/O error|soft lockup|rcu.*stall|BUG:|Oops/)

    const sum = /([0-9a-f]{64}) {2}\/mnt\/file/.exec(await run('cat /mnt/sum'))?.[1]
    expect(sum).toBeDefined()
    expect(await run('sha256sum /mnt/file')).toContain(sum)
    expect(await run('umount /mnt; sync')).toContain('DONE:0')
    await type('poweroff -f\n')
    const end = Date.now() + 60_000
    while ((await call('machine.get', { id })).state !== 'stopped' && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50))

    execFileSync('e2fsck', ['-fn', disk], { stdio: 'pipe' })
    execFileSync('debugfs', ['-R', `dump /file ${join(home, 'file')}`, disk], { stdio: 'pipe' })
    expect(createHash('sha256').update(readFileSync(join(home, 'file'))).digest('hex')).toBe(sum)
  }, BOOT_TIMEOUT + 300_000)
})

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createQcow2 } from '../../src/main/host/disks/qcow2/create'
import { GuestConsole } from './console'

const root = fileURLToPath(new URL('../..', import.meta.url))
const guests = `${root}.cache/guests`
const BOOT_TIMEOUT = 240_000
const MIB = 1 << 20

/** Real Debian kernels, each with a busybox initramfs: made by scripts/setup/guests.mjs. */
const KERNELS = [
  { name: 'amd64-cloud', profile: 'nestbox64', machine: 'x86_64' },
  { name: 'amd64', profile: 'nestbox64', machine: 'x86_64' },
  { name: 'i386', profile: 'nestbox32', machine: 'i686' },
]
const TIERS = [0, 1, 2]
/** How the disk is attached, by tier, and what Linux makes of it. */
const DISKS = [
  { format: 'raw', options: 'cache=unsafe,queues=8', writeCache: 'write back' },
  { format: 'qcow2', options: 'cache=writethrough,queues=2', writeCache: 'write through' },
  { format: 'raw', options: 'cache=writeback', writeCache: 'write back' },
]

describe('Debian kernels', () => {
  const cli = `${root}.cache/tests/nestbox-boot.cjs`
  let dir: string
  let guest: GuestConsole | undefined

  beforeAll(() => {
    buildSync({ entryPoints: [`${root}src/main/cli/index.ts`], outfile: cli, bundle: true, platform: 'node', target: 'node18', format: 'cjs', logLevel: 'error' })
  })
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-boot-'))
  })
  afterEach(() => {
    guest?.kill()
    rmSync(dir, { recursive: true, force: true })
  })

  const boots = TIERS.flatMap((tier) => KERNELS.map((kernel) => ({ ...kernel, tier, ...DISKS[tier] })))

  it.each(boots)('$name on tier $tier boots to a shell, uses a $format disk and powers off', async ({ name, profile, machine, tier, format, options, writeCache }) => {
    expect(existsSync(join(guests, name, 'vmlinuz')), `run scripts/setup/guests.mjs: ${name}`).toBe(true)
    const disk = join(dir, 'disk.img')
    if (format === 'raw') writeFileSync(disk, '')
    if (format === 'raw') truncateSync(disk, 64 * MIB)
    else await createQcow2(disk, { sizeBytes: 64 * MIB })
    const stats = join(dir, 'stats.json')
    guest = new GuestConsole(cli, [
      '--kernel', join(guests, name, 'vmlinuz'), '--initrd', join(guests, name, 'initrd.gz'), '--append', 'console=ttyS0 panic=-1',
      '--memory', '512', '--cpu-profile', profile, '--tier', `${tier}`, '--disk', `${disk},format=${format},${options}`, '--no-reboot', '--stats', stats,
    ])
    await guest.waitFor(/NESTBOX-SHELL-READY[\s\S]*# /, BOOT_TIMEOUT)
    expect(await guest.run('uname -m')).toContain(machine)
    expect(await guest.run('cat /sys/block/vda/serial')).toContain('disk0')
    expect(await guest.run('cat /sys/block/vda/queue/write_cache')).toContain(writeCache)
    expect(await guest.run('cat /sys/block/vda/queue/physical_block_size; cat /sys/block/vda/queue/max_segment_size')).toMatch(/4096\s+262144/)
    // One CPU: one of the queues is used, with a vector of its own.
    expect(await guest.run('cat /proc/interrupts')).toMatch(/MSI.*virtio2-req\.0/)

    // Partition, format, write, and take the checksum inside.
    await guest.run(`printf 'o\\nn\\np\\n1\\n2048\\n\\nw\\n' | fdisk /dev/vda`)
    expect(await guest.run('ls /dev/vda1')).toContain('/dev/vda1')
    expect(await guest.run('mke2fs /dev/vda1 && mkdir -p /mnt && mount -t ext2 /dev/vda1 /mnt || mount -t ext4 /dev/vda1 /mnt', 120_000)).toContain('DONE:0')
    const written = await guest.run('dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null; sync; sha256sum /mnt/file', 120_000)
    const sum = /([0-9a-f]{64}) {2}\/mnt\/file/.exec(written)?.[1]
    expect(sum).toBeDefined()
    expect(await guest.run('umount /mnt; sync')).toContain('DONE:0')

    guest.type('poweroff -f\n')
    const end = await guest.ended(60_000)
    expect(end.code, end.output.slice(-2000)).toBe(0)
    expect(JSON.parse(readFileSync(stats, 'utf8'))).toMatchObject({ stop: { kind: 'power-off' } })

    // The host's own tools find the same.
    const partition = join(dir, 'partition.img')
    const raw = join(dir, 'disk.raw')
    if (format === 'qcow2') execFileSync('qemu-img', ['check', disk], { stdio: 'pipe' })
    execFileSync('qemu-img', ['convert', '-f', format, '-O', 'raw', disk, raw])
    writeFileSync(partition, readFileSync(raw).subarray(2048 * 512))
    execFileSync('e2fsck', ['-fn', partition], { stdio: 'pipe' })
    execFileSync('debugfs', ['-R', `dump /file ${join(dir, 'file')}`, partition], { stdio: 'pipe' })
    expect(createHash('sha256').update(readFileSync(join(dir, 'file'))).digest('hex')).toBe(sum)
  }, BOOT_TIMEOUT + 300_000)
})

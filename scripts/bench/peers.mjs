/** Who is measured, and how each is started with its serial line on standard input and output. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { output, root } from '../setup/run.mjs'

export const MEMORY_MIB = 512
export const SEABIOS = '/usr/share/seabios'
/** Debian packages of the peers and the guest programs. */
export const BENCH_PACKAGES = {
  'qemu-system-x86': 'peer of the benchmark', seabios: 'v86 starts with its BIOS', gcc: 'guest programs', 'libc6-dev': 'guest programs',
  'gcc-multilib': '32-bit guest programs', cpio: 'initramfs images', 'busybox-static': 'guests', debootstrap: 'Debian guest', e2fsprogs: 'Debian guest',
  'qemu-utils': 'peer of the snapshots benchmark',
}

const nestbox = (tier) => ({ title: tier === undefined ? 'Nestbox' : `Nestbox, tier ${tier}`, widths: [64, 32], disks: true, command: (guest) => ({
  // As npx starts it: its first line tells with which flags.
  command: join(root, 'out/cli/nestbox.cjs'),
  args: ['run', '--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.append, '--memory', `${MEMORY_MIB}`,
    '--cpu-profile', guest.width === 32 ? 'nestbox32' : 'nestbox64', '--no-reboot', '--stats', guest.statsFile,
    ...(tier === undefined ? [] : ['--tier', tier]), ...(guest.disk ? ['--disk', guest.disk] : [])],
  // Whatever it keeps between runs lies in here: a new folder is a cold start.
  env: { NESTBOX_HOME: join(guest.stateDir, 'home'), XDG_CACHE_HOME: join(guest.stateDir, 'cache') },
}) })

const qemu = (cpu) => ({ title: `QEMU TCG${cpu ? `, -cpu ${cpu}` : ''}`, widths: [64, 32], disks: true, command: (guest) => ({
  command: guest.width === 32 ? 'qemu-system-i386' : 'qemu-system-x86_64',
  // No default devices: Nestbox has no network card and no screen to set up either.
  args: ['-accel', 'tcg', '-m', `${MEMORY_MIB}`, '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot', ...(cpu ? ['-cpu', cpu] : []),
    '-kernel', guest.kernel, '-initrd', guest.initrd, '-append', guest.append,
    ...(guest.disk ? ['-drive', `file=${guest.disk},format=raw,if=virtio`] : [])],
  env: {},
}) })

const v86 = { title: 'v86', widths: [32], disks: false, command: (guest) => ({
  command: process.execPath, args: [join(root, 'scripts/bench/v86-machine.mjs'), guest.kernel, guest.initrd, guest.append, `${MEMORY_MIB}`, SEABIOS], env: {},
}) }

const PEERS = {
  nestbox: nestbox(), qemu: qemu(), v86, 'qemu-max': qemu('max'),
  'nestbox-t0': nestbox('0'), 'nestbox-t1': nestbox('1'), 'nestbox-t2': nestbox('2'),
}
export const PEER_NAMES = Object.keys(PEERS)
export const DEFAULT_PEERS = ['nestbox', 'qemu', 'v86']

export const titleOf = (peer) => PEERS[peer].title
export const canRun = (peer, { width, disk }) => PEERS[peer].widths.includes(width) && (!disk || PEERS[peer].disks)
export const isNestbox = (peer) => peer.startsWith('nestbox')

/**
 * @param guest {width, kernel, initrd, append, disk?, stateDir, statsFile} paths; Nestbox writes its figures to statsFile
 * @returns {{command: string, args: string[], env: object}}
 */
export const peerCommand = (peer, guest) => PEERS[peer].command(guest)

/** Versions of what was measured, for the report. */
export function versions() {
  const first = (text) => text?.split('\n')[0]?.trim()
  const v86Package = join(root, 'node_modules/v86/package.json')
  return {
    nestbox: first(output('git', ['describe', '--always', '--dirty'])) ?? 'unknown', qemu: first(output('qemu-system-x86_64', ['--version'])) ?? 'missing',
    v86: existsSync(v86Package) ? first(output(process.execPath, ['-p', `require(${JSON.stringify(v86Package)}).version`])) : 'missing', node: process.version,
  }
}

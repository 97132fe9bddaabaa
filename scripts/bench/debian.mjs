/** Debian 12 with systemd on a virtio disk: debootstrap's tree as an ext4 image, and an initramfs that hands over to it. */
import { execFileSync } from 'node:child_process'
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, run, say } from '../setup/run.mjs'
import { appendToInitramfs } from './programs.mjs'

/** Raised when the way the image is built changes. */
const RECIPE = 1
const SUITE = 'bookworm'
const PACKAGES = ['systemd-sysv', 'udev', 'dbus', 'libpam-systemd', 'kmod']
const SIZE = '1G'

const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules.order); do insmod "/modules/$m" 2>/dev/null; done
for i in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; usleep 100000; done
mount -t ext4 /dev/vda /root || { echo NO-ROOT-DISK; exec sh; }
mount --move /dev /root/dev
umount /proc /sys
exec switch_root /root /sbin/init
`

function bootstrap(tree, log) {
  say(`building Debian 12 (${SUITE}) with debootstrap: some minutes, ${log} says what it does`)
  const args = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, SUITE, tree]
  try {
    writeFileSync(log, execFileSync('debootstrap', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 }))
  } catch (error) {
    writeFileSync(log, String(error.stdout ?? error.message))
    throw new Error(`debootstrap failed: ${String(error.stdout ?? error.message).trim().split('\n').slice(-3).join(' / ')}`, { cause: error })
  }
}

/** root without a password, the disk in fstab. */
function configure(tree) {
  const shadow = join(tree, 'etc/shadow')
  writeFileSync(shadow, readFileSync(shadow, 'utf8').replace(/^root:[^:]*:/m, 'root::'))
  writeFileSync(join(tree, 'etc/hostname'), 'debian\n')
  writeFileSync(join(tree, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n')
  appendFileSync(join(tree, 'etc/hosts'), '127.0.0.1 localhost debian\n')
  rmSync(join(tree, 'var/cache/apt/archives'), { recursive: true, force: true })
  mkdirSync(join(tree, 'var/cache/apt/archives/partial'), { recursive: true })
}

/** @returns path of the raw image, built where it is missing. @throws Error where it cannot be built */
function buildImage(dir) {
  const image = join(dir, `debian-${RECIPE}.img`)
  if (existsSync(image)) return image
  if (process.getuid?.() !== 0) throw new Error('debootstrap needs root')
  const work = mkdtempSync(join(tmpdir(), 'nestbox-debian-'))
  try {
    const tree = join(work, 'tree')
    bootstrap(tree, join(dir, 'debootstrap.log'))
    configure(tree)
    run('mke2fs', ['-q', '-t', 'ext4', '-L', 'root', '-d', tree, `${image}.new`, SIZE], { stdio: ['ignore', 'ignore', 'inherit'] })
    renameSync(`${image}.new`, image)
    return image
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** @returns {image, initrd} for a kernel whose initramfs (modules and busybox) is `initrd` */
export function ensureDebian(initrd) {
  const dir = join(root, '.cache/bench')
  mkdirSync(dir, { recursive: true })
  const init = join(dir, 'debian-init')
  writeFileSync(init, INIT)
  chmodSync(init, 0o755)
  return { image: buildImage(dir), initrd: appendToInitramfs(initrd, { init }, join(dir, 'debian-initrd.gz')) }
}

/** What is in the starter image. */
import { createHash } from 'node:crypto'
import { writeCpio, type ArchiveEntry } from './cpio'
import type { KernelModule } from './modules'

export const COMMAND_LINE = 'console=ttyS0'
/** Of the file system for the guest's files, by which it is found wherever the disk is among others. */
export const DATA_LABEL = 'nestbox-data'

/** Packages that name the newest kernel of their kind; the first one that apt knows is taken (Debian, then Ubuntu). */
export const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-amd64'] as const
export const BUSYBOX_PACKAGE = 'busybox-static'

/** Modules a guest needs for its virtio devices, ext4 and the power button; what they depend on comes with them. */
export const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'virtio-rng', 'crc32c_generic', 'ext4', 'evdev', 'button'] as const

/**
 * Mounts what the guest keeps its files on. A blank disk that `nestbox.data=` names gets an ext2 file system first, the one that
 * busybox can make; one with anything in its first MiB is left alone.
 */
const MOUNT_DATA = `#!/bin/busybox sh
data=$(findfs LABEL=${DATA_LABEL} 2>/dev/null)
if [ -z "$data" ]; then
  data=$(sed -n 's/.*nestbox\\.data=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
  [ -b "$data" ] || exit 1
  [ "$(head -c 1048576 "$data" | tr -d '\\0' | wc -c)" -eq 0 ] || exit 1
  mke2fs -L ${DATA_LABEL} "$data" >/dev/null 2>&1 || exit 1
fi
mount -t ext4 "$data" /data
`

/** Ends the guest with its file systems in order: `poweroff`, `reboot` or `halt`. */
const LEAVE = `#!/bin/busybox sh
sync
umount -r /data 2>/dev/null
exec /bin/busybox "$1" -f
`

/**
 * First process of the guest. A shell on the serial line, one on the virtio console, an ear for the power button.
 * busybox's poweroff, reboot and halt ask the first process by signal: it hears them because it waits in the background.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
for m in $(cat /modules.order); do insmod "/modules/$m" 2>/dev/null; done
trap '/etc/leave poweroff' USR2
trap '/etc/leave reboot' TERM
trap '/etc/leave halt' USR1
hostname nestbox
export HOME=/root USER=root TERM=xterm-256color
cat /etc/motd
if /etc/mount-data; then
  export HOME=/data
  echo "Files in /data are kept: your disk has $(df -h /data | awk 'END { print $4 }') free."
  echo 'Everything else is gone when the machine stops.'
else
  echo 'Nothing is kept when the machine stops, except what you write to its disks.'
fi
echo "'poweroff' or leaving the shell switches the machine off."
echo
acpid -d >/dev/null 2>&1 &
if [ -c /dev/hvc0 ]; then
  (while :; do setsid sh -c 'exec sh -l </dev/hvc0 >/dev/hvc0 2>&1'; done) &
fi
setsid cttyhack sh -l </dev/console >/dev/console 2>&1 &
shell=$!
while kill -0 $shell 2>/dev/null; do wait $shell; done
exec /etc/leave poweroff
`

const POWER_BUTTON = `#!/bin/busybox sh
exec /etc/leave poweroff
`

const MOTD = `
Welcome to Nestbox. This is Linux with busybox: a shell and some 300 commands.
`

const PROFILE = `PS1='nestbox:\\w# '
cd
`

export interface StarterParts {
  readonly busybox: Uint8Array
  /** In the order they are loaded. */
  readonly modules: readonly KernelModule[]
}

const folder = (path: string): ArchiveEntry => ({ path, mode: 0o040755 })
const file = (path: string, data: Uint8Array | string, executable = false): ArchiveEntry =>
  ({ path, mode: executable ? 0o100755 : 0o100644, data: typeof data === 'string' ? Buffer.from(data) : data })

/** The guest's first file system. */
export function starterFiles({ busybox, modules }: StarterParts): ArchiveEntry[] {
  return [
    ...['bin', 'proc', 'sys', 'dev', 'tmp', 'root', 'mnt', 'data', 'modules', 'etc', 'etc/acpi', 'etc/acpi/PWRF'].map(folder),
    file('bin/busybox', busybox, true),
    ...modules.map(({ name, data }) => file(`modules/${name}.ko`, data)),
    file('modules.order', `${modules.map(({ name }) => `${name}.ko`).join('\n')}\n`),
    file('etc/motd', MOTD),
    file('etc/profile', PROFILE),
    file('etc/passwd', 'root::0:0:root:/root:/bin/sh\n'),
    file('etc/acpi/PWRF/00000080', POWER_BUTTON, true),
    file('etc/mount-data', MOUNT_DATA, true),
    file('etc/leave', LEAVE, true),
    file('init', INIT, true),
  ]
}

/** Changes whenever anything above does: an image of another recipe is built anew. */
export const RECIPE = createHash('sha256').update(writeCpio(starterFiles({ busybox: new Uint8Array(), modules: [] }))).update(MODULES.join()).digest('hex').slice(0, 16)

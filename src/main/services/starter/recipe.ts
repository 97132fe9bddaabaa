/** What is in the starter image. */
import { createHash } from 'node:crypto'
import { writeCpio, type ArchiveEntry } from './cpio'
import type { KernelModule } from './modules'

export const COMMAND_LINE = 'console=ttyS0'

/** Packages that name the newest kernel of their kind; the first one that apt knows is taken (Debian, then Ubuntu). */
export const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-amd64'] as const
export const BUSYBOX_PACKAGE = 'busybox-static'

/** Modules a guest needs for its virtio devices, ext4 and the power button; what they depend on comes with them. */
export const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'virtio-rng', 'crc32c_generic', 'ext4', 'evdev', 'button'] as const

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
trap 'sync; busybox poweroff -f' USR2
trap 'sync; busybox reboot -f' TERM
trap 'sync; busybox halt -f' USR1
hostname nestbox
export HOME=/root USER=root TERM=xterm-256color
cd /root
acpid -d >/dev/null 2>&1 &
if [ -c /dev/hvc0 ]; then
  (while :; do setsid sh -c 'exec sh -l </dev/hvc0 >/dev/hvc0 2>&1'; done) &
fi
cat /etc/motd
setsid cttyhack sh -l </dev/console >/dev/console 2>&1 &
shell=$!
while kill -0 $shell 2>/dev/null; do wait $shell; done
sync
busybox poweroff -f
`

const POWER_BUTTON = `#!/bin/busybox sh
sync
exec /bin/busybox poweroff -f
`

const MOTD = `
Welcome to Nestbox. This is Linux with busybox: a shell and some 300 commands.
Nothing is kept when the machine stops, except what you write to its disks.
'poweroff' or leaving the shell switches the machine off.

`

const PROFILE = `PS1='nestbox:\\w# '
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
    ...['bin', 'proc', 'sys', 'dev', 'tmp', 'root', 'mnt', 'modules', 'etc', 'etc/acpi', 'etc/acpi/PWRF'].map(folder),
    file('bin/busybox', busybox, true),
    ...modules.map(({ name, data }) => file(`modules/${name}.ko`, data)),
    file('modules.order', `${modules.map(({ name }) => `${name}.ko`).join('\n')}\n`),
    file('etc/motd', MOTD),
    file('etc/profile', PROFILE),
    file('etc/passwd', 'root::0:0:root:/root:/bin/sh\n'),
    file('etc/acpi/PWRF/00000080', POWER_BUTTON, true),
    file('init', INIT, true),
  ]
}

/** Changes whenever anything above does: an image of another recipe is built anew. */
export const RECIPE = createHash('sha256').update(writeCpio(starterFiles({ busybox: new Uint8Array(), modules: [] }))).update(MODULES.join()).digest('hex').slice(0, 16)

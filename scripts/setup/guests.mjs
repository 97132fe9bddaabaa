/** Fetches the kernels and builds the initramfs images that the boot tests run: Debian's own packages, no root needed. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { output, root, run, say } from './run.mjs'

export const guestsDir = join(root, '.cache', 'guests')
/** Raised when the way guests are built changes. */
const RECIPE = 1

const INIT = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
for m in $(cat /modules.order 2>/dev/null); do insmod "/modules/$m" 2>/dev/null; done
echo NESTBOX-SHELL-READY
setsid cttyhack sh
poweroff -f
`

/** Modules a guest needs for its virtio devices, in an order that satisfies their dependencies. */
const MODULES = ['virtio', 'virtio_ring', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk', 'virtio_console',
  'rng-core', 'virtio-rng', 'crc16', 'crc32c_generic', 'libcrc32c', 'mbcache', 'jbd2', 'ext4']

const kernelPackage = (meta) => {
  const depends = output('apt-cache', ['depends', meta]) ?? ''
  return /Depends: (linux-image-\S+)/.exec(depends)?.[1]
}

function download(name, into) {
  mkdirSync(into, { recursive: true })
  // Without the sandbox user: the folder belongs to whoever runs this.
  run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', name], { cwd: into, stdio: ['ignore', 'ignore', 'ignore'] })
  const file = readdirSync(into).find((f) => f.startsWith(`${name}_`))
  if (!file) throw new Error(`apt-get download ${name} gave no package`)
  return join(into, file)
}

function findModules(tree, names) {
  const listing = output('find', [join(tree, 'lib', 'modules'), join(tree, 'usr', 'lib', 'modules'), '-name', '*.ko']) ?? execFind(tree)
  const paths = listing.split('\n').filter(Boolean)
  return names.flatMap((name) => paths.filter((p) => p.endsWith(`/${name}.ko`)).slice(0, 1))
}

function execFind(tree) {
  try {
    return execFileSync('find', [tree, '-name', '*.ko'], { encoding: 'utf8', maxBuffer: 1 << 26 })
  } catch {
    return ''
  }
}

function buildInitramfs(busybox, modules, target) {
  const tree = `${target}.tree`
  rmSync(tree, { recursive: true, force: true })
  for (const dir of ['bin', 'proc', 'sys', 'dev', 'tmp', 'modules']) mkdirSync(join(tree, dir), { recursive: true })
  cpSync(busybox, join(tree, 'bin', 'busybox'))
  const names = modules.map((path) => path.slice(path.lastIndexOf('/') + 1))
  modules.forEach((path, i) => cpSync(path, join(tree, 'modules', names[i])))
  writeFileSync(join(tree, 'modules.order'), `${names.join('\n')}\n`)
  writeFileSync(join(tree, 'init'), INIT)
  chmodSync(join(tree, 'init'), 0o755)
  execFileSync('sh', ['-c', `find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -9n > '${target}'`], { cwd: tree })
  rmSync(tree, { recursive: true, force: true })
}

/** One guest: kernel and initramfs under `.cache/guests/<name>`. */
function buildGuest(name, meta) {
  const dir = join(guestsDir, name)
  const stamp = join(dir, `recipe-${RECIPE}`)
  if (existsSync(stamp)) return dir
  const work = `${dir}.work`
  rmSync(work, { recursive: true, force: true })
  const kernel = kernelPackage(meta)
  if (!kernel) throw new Error(`apt knows no kernel behind ${meta}; run 'apt-get update' first`)
  say(`fetching ${kernel} for the test guest ${name}`)
  run('dpkg-deb', ['-x', download(kernel, work), join(work, 'tree')])
  const image = readdirSync(join(work, 'tree', 'boot')).find((f) => f.startsWith('vmlinuz-'))
  renameSync(join(work, 'tree', 'boot', image), join(work, 'vmlinuz'))
  buildInitramfs('/bin/busybox', findModules(join(work, 'tree'), MODULES), join(work, 'initrd.gz'))
  rmSync(join(work, 'tree'), { recursive: true, force: true })
  for (const f of readdirSync(work)) if (f.endsWith('.deb')) rmSync(join(work, f))
  writeFileSync(join(work, `recipe-${RECIPE}`), kernel)
  rmSync(dir, { recursive: true, force: true })
  renameSync(work, dir)
  return dir
}

export function ensureGuests() {
  if (output('apt-cache', ['depends', 'linux-image-cloud-amd64']) === undefined || !kernelPackage('linux-image-cloud-amd64')) {
    run('apt-get', ['update', '-qq'])
  }
  buildGuest('amd64-cloud', 'linux-image-cloud-amd64')
}

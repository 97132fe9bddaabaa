/** Fetches the kernels and builds the initramfs images that the boot tests run: Debian's own packages, no root needed. */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { output, root, run, say } from './run.mjs'

export const guestsDir = join(root, '.cache', 'guests')
/** Raised when the way guests are built changes. */
const RECIPE = 3

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
const MODULES = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci', 'virtio_blk', 'virtio_console',
  'rng-core', 'virtio-rng', 'crc16', 'crc32c_generic', 'libcrc32c', 'mbcache', 'jbd2', 'ext4']

const kernelPackage = (apt, meta) => {
  const depends = output('apt-cache', [...apt, 'depends', meta]) ?? ''
  return /Depends: (linux-image-[^\s:]+)/.exec(depends)?.[1]
}

/**
 * A private apt state for another architecture, from the host's own sources: nothing of the host's apt changes.
 * @returns options for apt-get and apt-cache
 */
function foreignApt(arch) {
  const base = join(guestsDir, `apt-${arch}`)
  for (const dir of ['lists/partial', 'cache/archives/partial', 'etc']) mkdirSync(join(base, dir), { recursive: true })
  writeFileSync(join(base, 'status'), '')
  const options = {
    'Dir::State': base, 'Dir::State::lists': join(base, 'lists'), 'Dir::State::status': join(base, 'status'), 'Dir::Cache': join(base, 'cache'),
    'APT::Architecture': arch, 'APT::Architectures': arch, 'APT::Sandbox::User': 'root',
  }
  const apt = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`])
  if (!existsSync(join(base, 'updated'))) {
    say(`reading the package lists for ${arch}`)
    // One list of several may be out of step on the mirror; whether a package is to be had is what counts.
    output('apt-get', [...apt, 'update', '-qq'])
    if (kernelPackage(apt, 'linux-image-686')) writeFileSync(join(base, 'updated'), '')
  }
  return apt
}

function download(apt, name, into) {
  mkdirSync(into, { recursive: true })
  // Without the sandbox user: the folder belongs to whoever runs this.
  run('apt-get', [...apt, 'download', '-qq', '-o', 'APT::Sandbox::User=root', name], { cwd: into, stdio: ['ignore', 'ignore', 'ignore'] })
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
function buildGuest(name, meta, apt = []) {
  const dir = join(guestsDir, name)
  const stamp = join(dir, `recipe-${RECIPE}`)
  if (existsSync(stamp)) return dir
  const work = `${dir}.work`
  rmSync(work, { recursive: true, force: true })
  const kernel = kernelPackage(apt, meta)
  if (!kernel) throw new Error(`apt knows no kernel behind ${meta}; run 'apt-get update' first`)
  say(`fetching ${kernel} and busybox for the test guest ${name}`)
  const tree = join(work, 'tree')
  run('dpkg-deb', ['-x', download(apt, kernel, work), tree])
  run('dpkg-deb', ['-x', download(apt, 'busybox-static', work), tree])
  const image = readdirSync(join(tree, 'boot')).find((f) => f.startsWith('vmlinuz-'))
  renameSync(join(tree, 'boot', image), join(work, 'vmlinuz'))
  const busybox = ['bin/busybox', 'usr/bin/busybox'].map((p) => join(tree, p)).find((p) => existsSync(p))
  buildInitramfs(busybox, findModules(tree, MODULES), join(work, 'initrd.gz'))
  rmSync(tree, { recursive: true, force: true })
  for (const f of readdirSync(work)) if (f.endsWith('.deb')) rmSync(join(work, f))
  writeFileSync(join(work, `recipe-${RECIPE}`), kernel)
  rmSync(dir, { recursive: true, force: true })
  renameSync(work, dir)
  return dir
}

const isBuilt = (name) => existsSync(join(guestsDir, name, `recipe-${RECIPE}`))

export function ensureGuests() {
  if (!isBuilt('amd64-cloud') || !isBuilt('amd64')) {
    if (!kernelPackage([], 'linux-image-cloud-amd64')) run('apt-get', ['update', '-qq'])
    buildGuest('amd64-cloud', 'linux-image-cloud-amd64')
    buildGuest('amd64', 'linux-image-amd64')
  }
  if (!isBuilt('i386')) buildGuest('i386', 'linux-image-686', foreignApt('i386'))
}

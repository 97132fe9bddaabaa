/** Installs Debian packages the tests and the app need. */
import { output, run, say } from './run.mjs'

/** What each is for. */
export const TEST_PACKAGES = {
  'qemu-system-x86': 'reference emulator', 'qemu-utils': 'reference for disk images', gcc: 'native instruction tests',
  'libc6-dev': 'native instruction tests', binutils: 'disassembler oracle', nasm: 'bare-metal test kernels',
  'e2fsprogs': 'file system checks', fdisk: 'partitioning', cpio: 'initramfs images', 'busybox-static': 'test guests',
  xvfb: 'display for end-to-end tests', xauth: 'display for end-to-end tests', chromium: 'browser tests',
  'acpica-tools': 'ACPI table checks', 'libxml2-utils': 'grammar of OVF descriptions', 'fonts-dejavu-core': 'screenshots',
}

const installed = (name) => (output('dpkg-query', ['-W', '-f=${Status}', name]) ?? '').includes('install ok installed')

/** Installs what is missing; where that is not allowed, throws with the command a person can run. */
export function ensureSystemPackages(packages) {
  const missing = Object.keys(packages).filter((name) => !installed(name))
  if (missing.length === 0) return
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  if (process.getuid?.() !== 0) throw new Error(`these Debian packages are missing; install them with:\n  sudo ${command}`)
  for (const name of missing) say(`installing ${name} (${packages[name]})`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  // One source of several may be out of reach; whether the packages are to be had is what counts.
  if (output('apt-get', ['update', '-qq'], { env }) === undefined) say('apt-get update did not read every source')
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env, stdio: ['ignore', 'ignore', 'inherit'] })
}

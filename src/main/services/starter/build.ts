/** Builds the starter image from packages of the system's own distribution. */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { decompress } from 'fzstd'
import { phrase, type PhraseValue } from '../../../preload/contract'
import { messageOf, ServiceError } from '../errors'
import { writeAtomic } from '../files'
import { execute } from '../programs'
import type { Progress } from '../types'
import { Apt } from './apt'
import { writeCpio } from './cpio'
import { inLoadOrder, moduleKey, type KernelModule } from './modules'
import { BUSYBOX_PACKAGE, KERNEL_PACKAGES, MODULES, starterFiles } from './recipe'

export interface BuiltStarter {
  /** The kernel's package. */
  readonly kernelPackage: string
}

/** Shares of the whole work, as fractions done when each step begins. */
const AT = { lists: 0.02, busybox: 0.1, kernel: 0.15, unpack: 0.8, pack: 0.9 } as const

const MODULE_FILE = /\.ko(\.xz|\.zst)?$/

async function kernelPackage(apt: Apt): Promise<string | undefined> {
  for (const meta of KERNEL_PACKAGES) {
    const name = await apt.dependency(meta, /Depends: (linux-image-[\w.+-]+)/)
    if (name) return name
  }
  return undefined
}

async function findFiles(dir: string, wanted: (name: string) => boolean): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => [])
  const nested = await Promise.all(entries.map((entry) => {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) return findFiles(path, wanted)
    return wanted(entry.name) ? [path] : []
  }))
  return nested.flat()
}

async function readModule(path: string, signal: AbortSignal): Promise<Uint8Array> {
  if (path.endsWith('.xz')) return execute('xz', ['-dc', path], { signal })
  const data = await readFile(path)
  return path.endsWith('.zst') ? decompress(data) : data
}

async function readModules(tree: string, signal: AbortSignal): Promise<KernelModule[]> {
  const paths = new Map<string, string>()
  for (const path of await findFiles(tree, (name) => MODULE_FILE.test(name))) paths.set(moduleKey(basename(path).replace(MODULE_FILE, '')), path)
  return inLoadOrder(MODULES, async (name) => {
    const path = paths.get(moduleKey(name))
    return path === undefined ? undefined : { name: basename(path).replace(MODULE_FILE, ''), data: await readModule(path, signal) }
  })
}

async function choose(apt: Apt, progress: Progress): Promise<string> {
  progress.report(AT.lists, phrase('step.lookForKernel'))
  const known = await kernelPackage(apt)
  if (known && await apt.knows(BUSYBOX_PACKAGE)) return known
  progress.report(AT.lists, phrase('step.fetchLists'))
  await apt.updateLists()
  const found = await kernelPackage(apt)
  if (!found) throw new ServiceError('image-unavailable', phrase('starter.noKernel', { names: KERNEL_PACKAGES.join(', ') }))
  return found
}

async function unpack(deb: string, tree: string, signal: AbortSignal): Promise<void> {
  await execute('dpkg-deb', ['-x', deb, tree], { signal }).catch((error: unknown) => {
    signal.throwIfAborted()
    const full = /No space left/i.test(messageOf(error))
    throw new ServiceError(full ? 'disk-full' : 'internal', phrase('starter.notUnpacked', { name: deb, detail: messageOf(error) }))
  })
}

async function single(files: Promise<string[]>, what: PhraseValue): Promise<string> {
  const [file] = await files
  if (!file) throw new ServiceError('internal', phrase('starter.lacks', { what }))
  return file
}

/**
 * Makes `vmlinuz` and `initrd.gz` in `target`.
 * @param work folder for what comes between; the caller removes it
 */
export async function buildStarter(work: string, target: string, progress: Progress): Promise<BuiltStarter> {
  const { signal } = progress
  const apt = new Apt(work, signal)
  const kernel = await choose(apt, progress)
  progress.report(AT.busybox, phrase('step.downloading', { name: BUSYBOX_PACKAGE }))
  const busyboxDeb = await apt.download(BUSYBOX_PACKAGE, () => undefined)
  const part = (fraction: number | undefined): number => AT.kernel + (AT.unpack - AT.kernel) * (fraction ?? 0)
  progress.report(AT.kernel, phrase('step.downloading', { name: kernel }))
  const kernelDeb = await apt.download(kernel, (fraction) => progress.report(part(fraction), phrase('step.downloading', { name: kernel })))
  progress.report(AT.unpack, phrase('step.unpacking'))
  const tree = join(work, 'tree')
  await unpack(busyboxDeb, tree, signal)
  await unpack(kernelDeb, tree, signal)
  progress.report(AT.pack, phrase('step.packing'))
  const busybox = await readFile(await single(findFiles(tree, (name) => name === 'busybox'), 'busybox'))
  const archive = writeCpio(starterFiles({ busybox, modules: await readModules(tree, signal) }))
  await writeAtomic(join(target, 'initrd.gz'), await promisify(gzip)(archive, { level: 6 }))
  await writeAtomic(join(target, 'vmlinuz'), await readFile(await single(findFiles(tree, (name) => name.startsWith('vmlinuz-')), phrase('file.kernel'))))
  signal.throwIfAborted()
  return { kernelPackage: kernel }
}

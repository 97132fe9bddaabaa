/** `nestbox disk …`: images as files, without the library. */
import { dirname, extname, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import { DISK_FORMATS, type DiskFormat } from '../host'
import { compactDisk } from '../host/disks/compact'
import { convertDisk, createDisk } from '../host/disks/convert'
import { DiskFormatError } from '../host/disks/formats/common/format-error'
import type { WriteOptions } from '../host/disks/formats/common/write'
import { diskChain, diskInfo, type DiskInfo } from '../host/disks/info'
import { resizeDisk } from '../host/disks/open'
import { checkQcow2, type CheckReport } from '../host/disks/qcow2/check'
import { rebaseQcow2 } from '../host/disks/qcow2/rebase'
import { repairQcow2 } from '../host/disks/qcow2/repair'
import { ServiceError, systemCode, writeError } from '../services/errors'
import { VmmError } from '../vmm/errors'
import { ExitCode } from './exit-codes'
import { CliError, printable, printJson, printTable, say } from './output'

interface Json { readonly json?: boolean }

const UNITS = ['', 'K', 'M', 'G', 'T']
const SECTOR = 512
const MAX_COLUMNS = 60

/** `1G`, `512M`, `1.5T` (powers of 1024) or bytes; the next multiple of 512. @throws CliError */
export function parseSize(option: string, text: string): number {
  const found = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text)
  const bytes = found ? Number(found[1]) * 1024 ** UNITS.indexOf(found[2].toUpperCase()) : NaN
  const whole = Math.ceil(bytes / SECTOR) * SECTOR
  if (!Number.isSafeInteger(whole) || whole <= 0) throw new CliError(ExitCode.USAGE, `${option} ${text}: a size such as 10G, 512M or a number of bytes is needed`)
  return whole
}

/** For people: 1.5 GiB. */
export function sizeText(bytes: number): string {
  let unit = 0
  for (; bytes >= 1024 && unit < UNITS.length - 1; unit++) bytes /= 1024
  return unit === 0 ? `${bytes} bytes` : `${Number(bytes.toFixed(bytes < 10 ? 2 : 1))} ${UNITS[unit]}iB`
}

function parseFormat(option: string, text: string): DiskFormat {
  const found = DISK_FORMATS.find((format) => format === text.toLowerCase())
  if (!found) throw new CliError(ExitCode.USAGE, `${option} ${text}: must be one of ${DISK_FORMATS.join(', ')}`)
  return found
}

/** What was asked for, else what the name says, else qcow2. */
function newFormat(file: string, format: string | undefined): DiskFormat {
  if (format !== undefined) return parseFormat('--format', format)
  const suffix = extname(file).slice(1).toLowerCase()
  return suffix === 'img' ? 'raw' : DISK_FORMATS.find((known) => known === suffix) ?? 'qcow2'
}

function parseClusterBits(text: string | undefined, format: DiskFormat): { clusterBits?: number } {
  if (text === undefined) return {}
  const bits = Math.log2(parseSize('--cluster-size', text))
  if (format !== 'qcow2') throw new CliError(ExitCode.USAGE, `--cluster-size ${text}: ${format} images have none`)
  if (!Number.isInteger(bits) || bits < 9 || bits > 21) throw new CliError(ExitCode.USAGE, `--cluster-size ${text}: must be a power of two from 512 to 2M`)
  return { clusterBits: bits }
}

/** Errors of the formats as the contract knows them. @param target the file that is written: what the system says of an open file does not name it */
function translated(error: unknown, target: string): unknown {
  if (error instanceof DiskFormatError) return new ServiceError('bad-disk', error.message, { path: error.path, offset: error.offset })
  if (error instanceof RangeError) return new ServiceError('invalid-argument', error.message)
  if (systemCode(error) === 'EEXIST' && error instanceof Error) return new ServiceError('name-taken', `${error.message}; --force replaces it`)
  if (error instanceof VmmError && systemCode(error.cause) === 'ENOENT') return new ServiceError('file-missing', error.message, error.details)
  // What the system refused, with the file it is about, is told in our words.
  if (error instanceof VmmError && error.cause instanceof Error && 'path' in error.cause) return error.cause
  if (error instanceof Error && !(error instanceof VmmError) && 'syscall' in error && !('path' in error)) return writeError(error, target)
  return error
}

/** Runs with Ctrl-C as cancel and progress on a terminal. @throws ServiceError, CliError, VmmError, system errors */
async function work<T>(title: string, json: boolean | undefined, run: (options: WriteOptions) => Promise<T>, target = title): Promise<T> {
  const abort = new AbortController()
  const cancel = (): void => abort.abort()
  const showing = process.stderr.isTTY && !json
  let shown = -1
  const onProgress = (done: number, total: number): void => {
    const percent = Math.floor((done / total) * 100)
    if (showing && percent !== shown) process.stderr.write(`\r\x1b[K${printable(title).slice(0, MAX_COLUMNS)}: ${shown = percent} %`)
  }
  process.on('SIGINT', cancel)
  try {
    return await run({ signal: abort.signal, onProgress })
  } catch (error) {
    throw translated(error, resolve(target))
  } finally {
    process.off('SIGINT', cancel)
    if (showing) process.stderr.write('\r\x1b[K')
  }
}

interface CreateFlags extends Json {
  readonly size?: string
  readonly format?: string
  readonly backing?: string
  readonly backingFormat?: string
  readonly clusterSize?: string
  readonly force?: boolean
}

/** As the new image says it: from its own folder, so that both can be moved together. */
async function backingOf(file: string, { backing, backingFormat }: CreateFlags): Promise<{ name: string; info: DiskInfo } | undefined> {
  if (backing === undefined) return undefined
  const info = await diskInfo(resolve(backing), backingFormat === undefined ? undefined : parseFormat('--backing-format', backingFormat))
  const name = relative(dirname(resolve(file)), resolve(backing))
  return { name: name.startsWith('..') ? resolve(backing) : name, info }
}

/** QEMU's name of it. */
const qemuName = (format: DiskFormat): string => (format === 'vhd' ? 'vpc' : format)

async function create(file: string, flags: CreateFlags): Promise<void> {
  const { json, size, force } = flags
  const info = await work(file, json, async (options) => {
    const format = newFormat(file, flags.format)
    const backing = await backingOf(file, flags)
    if (size === undefined && !backing) throw new CliError(ExitCode.USAGE, '--size is needed where there is no --backing')
    await createDisk(resolve(file), {
      ...options, format, overwrite: force ?? false, ...parseClusterBits(flags.clusterSize, format), sizeBytes: size === undefined ? backing?.info.sizeBytes ?? 0 : parseSize('--size', size),
      ...(backing && { backing: { path: backing.name, format: qemuName(backing.info.format) } }),
    })
    return diskInfo(resolve(file), format)
  })
  if (json) printJson(info)
  else say(false, `Created ${printable(file)}: ${info.format}, ${sizeText(info.sizeBytes)}.`)
}

interface ConvertFlags extends Json {
  readonly format?: string
  readonly from?: string
  readonly clusterSize?: string
  readonly force?: boolean
}

async function convert(input: string, output: string, flags: ConvertFlags): Promise<void> {
  const { json, force, from } = flags
  const info = await work(`${input} to ${output}`, json, async (options) => {
    const format = newFormat(output, flags.format)
    if (resolve(input) === resolve(output)) throw new CliError(ExitCode.USAGE, 'a disk cannot be converted into itself')
    const source = { path: resolve(input), ...(from !== undefined && { format: parseFormat('--from', from) }) }
    await convertDisk(source, resolve(output), { ...options, format, overwrite: force ?? false, ...parseClusterBits(flags.clusterSize, format) })
    return diskInfo(resolve(output), format)
  }, output)
  if (json) printJson(info)
  else say(false, `Converted ${printable(input)} to ${printable(output)}: ${info.format}, ${sizeText(info.sizeBytes)}, ${sizeText(info.usedBytes)} on the host.`)
}

async function info(file: string, { json, format }: Json & { format?: string }): Promise<void> {
  const { images, problem } = await work(file, json, () => diskChain(resolve(file), format === undefined ? undefined : parseFormat('--format', format)))
  if (json) return printJson({ ...images[0], chain: images.slice(1), ...(problem !== undefined && { problem }) })
  printTable(['FILE', 'FORMAT', 'SIZE', 'ON THE HOST', 'CLUSTERS', 'SNAPSHOTS', 'STATE'], images.map(({ path, format: kind, sizeBytes, usedBytes, qcow2 }) => [
    path, kind, sizeText(sizeBytes), sizeText(usedBytes), qcow2 ? sizeText(qcow2.clusterBytes) : '-', qcow2 ? String(qcow2.snapshots) : '-',
    qcow2?.isMarkedCorrupt ? 'corrupt' : qcow2?.isMarkedDirty ? 'dirty' : '-',
  ]))
  if (problem !== undefined) process.stderr.write(`nestbox: ${printable(problem)}\n`)
}

function verdict({ corruptions, leaks, clusterBytes, isMarkedDirty, isMarkedCorrupt }: CheckReport): string {
  const marks = isMarkedCorrupt ? ' It is marked as corrupt.' : isMarkedDirty ? ' It is marked as left behind by a killed program.' : ''
  const wasted = leaks > 0 ? ` ${leaks} clusters (${sizeText(leaks * clusterBytes)}) are wasted: nothing uses them, no data is at risk.` : ''
  return `${corruptions === 0 ? 'No errors.' : `${corruptions} errors: data is damaged, or will be by writing.`}${wasted}${marks}`
}

async function compact(file: string, { json, format }: Json & { format?: string }): Promise<void> {
  const done = await work(file, json, async (options) => {
    const { path, format: kind } = await diskInfo(resolve(file), format === undefined ? undefined : parseFormat('--format', format))
    return { path, format: kind, ...await compactDisk(path, kind, options) }
  })
  if (json) printJson(done)
  else say(false, `${printable(file)} takes ${sizeText(done.after)} on the host now, ${sizeText(Math.max(0, done.before - done.after))} less than before.`)
}

async function check(file: string, { json, repair }: Json & { repair?: boolean }): Promise<void> {
  const report = await work(file, json, async (options) => {
    const { format, path } = await diskInfo(resolve(file))
    if (format !== 'qcow2') throw new ServiceError('unsupported', `${path}: images of format ${format} have nothing to check; qcow2 has.`)
    if (repair) await repairQcow2(path, options)
    return checkQcow2(path, options)
  })
  if (report.corruptions > 0 || report.isMarkedCorrupt) process.exitCode = ExitCode.FAILED
  if (json) return printJson(report)
  for (const problem of report.problems) say(false, printable(problem))
  say(false, verdict(report))
}

async function resize(file: string, size: string, { json, shrink, format }: Json & { shrink?: boolean; format?: string }): Promise<void> {
  const now = await work(file, json, async (options) => {
    const before = await diskInfo(resolve(file), format === undefined ? undefined : parseFormat('--format', format))
    const bytes = size.startsWith('+') ? before.sizeBytes + parseSize('SIZE', size.slice(1)) : parseSize('SIZE', size)
    if (bytes < before.sizeBytes && !shrink) {
      throw new ServiceError('invalid-argument', `${before.path} has ${sizeText(before.sizeBytes)}; what lies past ${sizeText(bytes)} would be lost. Shrink the file systems in it first, then use --shrink.`)
    }
    await resizeDisk(before.path, bytes, before.format, options)
    return diskInfo(before.path, before.format)
  })
  if (json) printJson(now)
  else say(false, `${printable(file)} has ${sizeText(now.sizeBytes)} now. Partitions and file systems in it are as before: the guest has to grow them.`)
}

async function rebase(file: string, { json, backing, backingFormat }: Json & { backing?: string; backingFormat?: string }): Promise<void> {
  const now = await work(file, json, async () => {
    const wanted = await backingOf(file, { ...(backing !== undefined && { backing }), ...(backingFormat !== undefined && { backingFormat }) })
    return rebaseQcow2(resolve(file), wanted && { path: wanted.name, format: qemuName(wanted.info.format) })
  })
  if (json) printJson({ path: resolve(file), backing: now.path, format: now.format })
  else say(false, `${printable(file)} is laid over ${printable(now.path)} as it is now.`)
}

export function addDiskCommands(program: Command): void {
  const disk = program.command('disk').description('disk images: make, convert, look at, check')
  const add = (text: string, description: string): Command => disk.command(text).description(description).option('--json', 'print JSON')
  const formats = `<${DISK_FORMATS.join('|')}>`
  add('create <file>', 'an empty disk, or one laid over another').option('--size <size>', 'such as 10G; with --backing: as large as that')
    .option(`--format ${formats}`, "default: as the file's name says, else qcow2").option('--backing <file>', 'only what differs from this one is stored')
    .option(`--backing-format ${formats}`, 'default: by its own marks').option('--cluster-size <size>', 'of qcow2, 512 to 2M').option('--force', 'replace a file that is there').action(create)
  add('convert <input> <output>', 'a copy in another format, with all that the disk is laid over')
    .option(`--format ${formats}`, "default: as the output's name says, else qcow2").option(`--from ${formats}`, 'default: by its own marks')
    .option('--cluster-size <size>', 'of qcow2, 512 to 2M').option('--force', 'replace a file that is there').action(convert)
  add('info <file>', 'format, sizes, and the images it is laid over').option(`--format ${formats}`, 'default: by its own marks').action(info)
  add('check <file>', 'whether a qcow2 image is sound; it must not be in use').option('--repair', 'make its reference counts right').action(check)
  add('compact <file>', 'make the file of a raw or qcow2 disk that is not in use as small as it can be').option(`--format ${formats}`, 'default: by its own marks').action(compact)
  add('resize <file> <size>', 'another size (10G, +2G) for a raw or qcow2 disk that is not in use').option('--shrink', 'also smaller: what is cut off is lost')
    .option(`--format ${formats}`, 'default: by its own marks').action(resize)
  add('rebase <file>', 'say that what it is laid over is the right one').option('--backing <file>', 'this one from now on; it must hold the same')
    .option(`--backing-format ${formats}`, 'default: by its own marks').action(rebase)
}

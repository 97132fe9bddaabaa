/** `nestbox run`: a machine outside the library, its serial line on standard input and output. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { writeFile } from 'node:fs/promises'
import { CACHE_MODES, NodeClock, NodeEntropy, NodeWasmEngine, DISK_FORMATS, openDisk, type CacheMode, type DiskFormat, type OpenDisk } from '../host'
import { createMachine, type Machine, type MachineConfig, type MachinePorts } from '../vmm/machine'
import { VmmError } from '../vmm/errors'
import type { Logger } from '../vmm/ports'
import { KernelFiles } from '../vm-host/kernel-files'
import { MachineLoop } from '../vm-host/loop'
import { heapTrimmer, prebuiltPorts, readPrebuilt } from '../vm-host/prebuilt'
import type { HostStop } from '../vm-host/protocol'
import { WarmStart, type WarmStartOptions } from '../vm-host/warm-start'
import { defaultHome, translationsFolder } from '../services/home'
import { ExitCode } from './exit-codes'
import { FullDisk } from './full-disk'
import { kernelAdvice } from './kernel-advice'
import { CONSOLE_NAMES, StdioConsoles, type ConsoleName } from './stdio-consoles'

export interface RunOptions {
  readonly memory: string
  readonly kernel: string
  readonly initrd?: string
  readonly append: string
  readonly console: string
  readonly disk: readonly string[]
  readonly cpuProfile: string
  readonly tier: string
  readonly reboot: boolean
  readonly stats?: string
  readonly translationCache: boolean
  /** Two tiers, or true for the lowest and the highest. */
  readonly lockstep?: string | true
  readonly verbose?: boolean
}

/** Standard input and output, raw where they are a terminal. */
export function openStdio(front: ConsoleName, onQuit: () => void): { consoles: StdioConsoles; close: () => void } {
  const { stdin, stdout, stderr } = process
  const consoles = new StdioConsoles(front, {
    isTerminal: stdin.isTTY, write: (bytes) => stdout.write(bytes), note: (text) => stderr.write(`\r\nnestbox: ${text}\r\n`),
  }, onQuit)
  if (stdin.isTTY) stdin.setRawMode(true)
  stdin.on('data', (chunk: Buffer) => consoles.typed(chunk))
  stdin.resume()
  return {
    consoles,
    close: () => {
      if (stdin.isTTY) stdin.setRawMode(false)
      stdin.pause()
    },
  }
}

export class StderrLogger implements Logger {
  constructor(private readonly verbose: boolean) {}

  log(level: 'debug' | 'info' | 'warn' | 'error', component: string, message: string): void {
    if (this.verbose || level === 'warn' || level === 'error') process.stderr.write(`nestbox: ${component}: ${message}\r\n`)
  }
}

interface RunDisk { readonly path: string; readOnly: boolean; format?: DiskFormat; cache?: CacheMode; queues?: number }

/** `FILE[,format=F][,cache=MODE][,queues=N][,readonly]` */
function parseDisk(text: string): RunDisk {
  const [path, ...flags] = text.split(',')
  const disk: RunDisk = { path, readOnly: false }
  for (const flag of flags) {
    const format = DISK_FORMATS.find((name) => flag === `format=${name}`)
    const cache = CACHE_MODES.find((name) => flag === `cache=${name}`)
    const queues = /^queues=([1-8])$/.exec(flag)
    if (flag === 'readonly') disk.readOnly = true
    else if (format) disk.format = format
    else if (cache) disk.cache = cache
    else if (queues) disk.queues = Number(queues[1])
    else throw new VmmError('bad-config', `--disk ${text}: '${flag}' is not known (readonly, format=${DISK_FORMATS.join('|')}, cache=${CACHE_MODES.join('|')}, queues=1…8)`)
  }
  return disk
}

function parseTier(text: string): 0 | 1 | 2 {
  if (text === '0' || text === '1' || text === '2') return Number(text) as 0 | 1 | 2
  throw new VmmError('bad-config', `--tier ${text}: must be 0, 1 or 2`)
}

function parseConsole(text: string): ConsoleName {
  const known = CONSOLE_NAMES.find((name) => name === text)
  if (!known) throw new VmmError('bad-config', `--console ${text}: must be one of ${CONSOLE_NAMES.join(', ')}`)
  return known
}

interface AttachedDisk { readonly backend: OpenDisk; readonly queues?: number }

export function buildConfig(options: RunOptions, kernel: KernelFiles, disks: readonly AttachedDisk[]): MachineConfig {
  return {
    name: 'run', uuid: randomUUID(), memoryMiB: Number(options.memory), cpuProfile: options.cpuProfile,
    kernel: () => kernel.read(),
    disks: disks.map((disk, i) => ({ id: `disk${i}`, ...disk })),
    maxTier: parseTier(options.tier), onReset: options.reboot ? 'reboot' : 'stop',
  }
}

export function exitCodeOf(reason: HostStop): number {
  switch (reason.kind) {
    case 'power-off': return ExitCode.OK
    case 'reset': return ExitCode.RESET
    case 'triple-fault': return ExitCode.TRIPLE_FAULT
    default: return ExitCode.FAILED
  }
}

function report(reason: HostStop, machine: Machine): void {
  if (reason.kind === 'triple-fault') process.stderr.write(`\nnestbox: the guest crashed (${reason.detail})\n${machine.describe()}\n`)
  if (reason.kind === 'error') process.stderr.write(`\nnestbox: ${reason.code}: ${reason.message}\n${machine.describe()}\n`)
}

function withKernelAdvice<T>(kernel: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof VmmError && error.code === 'bad-kernel') throw new VmmError('bad-kernel', kernelAdvice(kernel, error.message), error.details, { cause: error })
    throw error
  }
}

async function openDisks(texts: readonly string[]): Promise<AttachedDisk[]> {
  const disks: AttachedDisk[] = []
  for (const text of texts) {
    const { path, readOnly, format, cache, queues } = parseDisk(text)
    // As QEMU does: a raw disk whose guest wrote another format's header must stay a raw disk.
    disks.push({ backend: await openDisk(path, readOnly, format ?? 'raw', cache), ...(queues === undefined ? {} : { queues }) })
  }
  return disks
}

/** Where the build put what programs use beside themselves. */
const builtFolder = (): string => join(__dirname, '..', 'main')

function openWarmStart(guest: WarmStartOptions['guest'], compiler: string | undefined, log: Logger): WarmStart | undefined {
  return WarmStart.open({ folder: translationsFolder(defaultHome()), guest, program: __filename, compiler, warn: (text, details) => log.log('warn', 'run', text, details) })
}

/** The machine, with what the build and earlier machines made. What of that is only needed at first is not kept. */
function createWarm(options: RunOptions, config: MachineConfig, kernelHash: string, ports: MachinePorts): { machine: Machine; warmStart: WarmStart | undefined } {
  const prebuilt = readPrebuilt(builtFolder(), __filename)
  const warmStart = options.translationCache && config.maxTier > 0 ? openWarmStart({ kernelHash, cpuProfile: config.cpuProfile }, prebuilt.compiler, ports.log) : undefined
  const machine = withKernelAdvice(options.kernel, () => createMachine(config, { ...prebuiltPorts(prebuilt, config.maxTier > 0), ...warmStart?.load(), ...ports }))
  return { machine, warmStart }
}

/** Runs a machine to its end. Returns the process's exit code. @throws VmmError for bad input */
export async function runMachine(options: RunOptions): Promise<number> {
  const front = parseConsole(options.console)
  const disks = await openDisks(options.disk)
  const kernel = new KernelFiles({ kernel: options.kernel, initrd: options.initrd, commandLine: options.append })
  const config = buildConfig(options, kernel, disks)
  let quit = false
  let loop: MachineLoop | undefined
  const { consoles, close } = openStdio(front, () => {
    quit = true
    loop?.stop({ kind: 'power-off' })
  })
  try {
    const log = new StderrLogger(options.verbose ?? false)
    const { machine, warmStart } = createWarm(options, config, kernel.kernelHash, {
      clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(), log, serial: consoles.ttyS0, console: consoles.hvc0,
      onDiskFull: (error) => fullDisk.stalled(error),
    })
    loop = new MachineLoop(machine, { trimHeap: heapTrimmer(builtFolder()) })
    const fullDisk = new FullDisk({ machine, loop, say: (text) => process.stderr.write(`nestbox: ${text}\r\n`) })
    const reason = await loop.run()
    fullDisk.end()
    await machine.drain()
    if (reason.kind !== 'error') warmStart?.save(machine)
    report(reason, machine)
    if (options.stats) await writeFile(options.stats, `${JSON.stringify({ stop: reason, ...machine.figures() }, null, 2)}\n`)
    return quit ? ExitCode.QUIT : exitCodeOf(reason)
  } finally {
    close()
    for (const { backend } of disks) await backend.close()
  }
}

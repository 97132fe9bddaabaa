/** Runs one machine for a manager: launches it, carries out commands, reports life and end. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NodeClock, NodeEntropy, NodeWasmEngine, openRawDisk, type RawDisk } from '../host'
import { createMachine, type Machine, type MachineConfig, type StopReason } from '../vmm/machine'
import { VmmError } from '../vmm/errors'
import { ConsolePort } from './console-port'
import { MachineLoop } from './loop'
import { HEARTBEAT_MS, toHost, type FromHost, type HostFigures, type LaunchConfig, type ToHost } from './protocol'

async function readFileFor(what: string, path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: unknown) => {
    throw new VmmError('bad-config', `cannot read the ${what} ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { path }, { cause })
  })
}

export class VmHost {
  private machine: Machine | undefined
  private loop: MachineLoop | undefined
  private disks: RawDisk[] = []
  private config: LaunchConfig | undefined
  private holds = 0
  private readonly ports: Record<'ttyS0' | 'hvc0', ConsolePort>

  /** @param send to the manager @param exit ends the process once everything is closed */
  constructor(private readonly send: (message: FromHost) => void, private readonly exit: (code: number) => void) {
    const hold = (held: boolean): void => this.setHold(held)
    this.ports = { ttyS0: new ConsolePort('ttyS0', send, hold), hvc0: new ConsolePort('hvc0', send, hold) }
  }

  private setHold(held: boolean): void {
    this.holds += held ? 1 : -1
    this.loop?.hold(this.holds > 0)
  }

  /** A message as it came off the wire. */
  receive(raw: unknown): void {
    const parsed = toHost.safeParse(raw)
    if (!parsed.success) {
      this.send({ type: 'log', level: 'error', text: `a message was not understood: ${parsed.error.message}` })
      return
    }
    this.handle(parsed.data)
  }

  private handle(message: ToHost): void {
    switch (message.type) {
      case 'launch': void this.launch(message.config); break
      case 'pause': this.loop?.pause(); this.beat(); break
      case 'resume': this.loop?.resume(); this.beat(); break
      case 'reset': this.machine?.reset(); break
      case 'power-button': this.machine?.pressPowerButton(); break
      case 'stop': this.stop(); break
      case 'input': this.ports[message.port].input(message.bytes); break
      case 'ack': this.ports[message.port].acknowledge(message.count); break
    }
  }

  /** The manager is gone or wants the machine off: end without asking the guest. */
  stop(): void {
    if (this.loop) this.loop.stop({ kind: 'power-off' })
    else void this.finish(0)
  }

  private async launch(config: LaunchConfig): Promise<void> {
    this.config = config
    try {
      this.machine = await this.build(config)
    } catch (error) {
      const [code, message] = error instanceof VmmError ? [error.code, error.message] : ['internal', error instanceof Error ? error.message : String(error)]
      this.send({ type: 'refused', code, message })
      return this.finish(1)
    }
    this.loop = new MachineLoop(this.machine)
    this.send({ type: 'running' })
    this.beat()
    const timer = setInterval(() => this.beat(), HEARTBEAT_MS)
    const reason = await this.loop.run()
    clearInterval(timer)
    await this.machine.drain()
    this.beat()
    this.send({ type: 'stopped', reason, ...(await this.report(reason)) })
    return this.finish(0)
  }

  private async build(config: LaunchConfig): Promise<Machine> {
    const image = await readFileFor('kernel', config.kernel)
    const initrd = config.initrd === '' ? undefined : await readFileFor('initial RAM disk', config.initrd)
    for (const disk of config.disks) {
      if (disk.format !== 'raw') throw new VmmError('unsupported', `${disk.path}: disks of format ${disk.format} cannot be used yet; convert it to raw`)
      this.disks.push(await openRawDisk(disk.path, disk.readOnly))
    }
    const machineConfig: MachineConfig = {
      name: config.name, uuid: config.uuid, memoryMiB: config.memoryMiB, cpuProfile: config.cpuProfile,
      kernel: { image, commandLine: config.commandLine, ...(initrd ? { initrd } : {}) },
      disks: this.disks.map((backend, i) => ({ id: `disk${i}`, backend })),
      maxTier: config.maxTier, onReset: config.onReset,
    }
    return createMachine(machineConfig, {
      clock: new NodeClock(), entropy: new NodeEntropy(), wasm: new NodeWasmEngine(),
      log: { log: (level, component, message) => this.send({ type: 'log', level, text: `${component}: ${message}` }) },
      serial: this.ports.ttyS0, console: this.ports.hvc0,
    })
  }

  private figures(machine: Machine): HostFigures {
    const f = machine.figures()
    const cpu = process.cpuUsage()
    return {
      instructions: f.instructions, guestRunNs: f.guestRunNs, idleNs: f.idleNs, tierNs: { ...f.tierNs }, interrupts: f.interrupts,
      exits: { ...f.exits }, readBytes: f.disk.readBytes, writtenBytes: f.disk.writtenBytes, residentGuestBytes: f.residentGuestBytes,
      processBytes: process.memoryUsage.rss(), processCpuSeconds: (cpu.user + cpu.system) / 1e6, unimplemented: { ...f.unimplemented },
    }
  }

  private beat(): void {
    if (this.machine && this.loop) this.send({ type: 'heartbeat', paused: this.loop.isPaused, figures: this.figures(this.machine) })
  }

  /** A crash leaves a report with the machine's last state. */
  private async report(reason: StopReason): Promise<{ report?: string }> {
    if ((reason.kind !== 'triple-fault' && reason.kind !== 'error') || !this.machine || !this.config) return {}
    const what = reason.kind === 'error' ? `${reason.code}: ${reason.message}` : `triple fault: ${reason.detail}`
    const path = join(this.config.logDir, `crash-${new Date().toISOString().replaceAll(':', '-')}.txt`)
    try {
      await mkdir(this.config.logDir, { recursive: true })
      await writeFile(path, `${this.config.name}\n${what}\n\n${this.machine.describe()}\n`)
      return { report: path }
    } catch {
      // The report is a courtesy; the manager hears of the crash either way.
      return {}
    }
  }

  private async finish(code: number): Promise<void> {
    for (const disk of this.disks) await disk.close().catch(() => undefined)
    this.exit(code)
  }
}

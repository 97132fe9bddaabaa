/** `nestbox vm …`: the machines of the library. */
import type { Command } from 'commander'
import { inEnglish, type ConsolePort, type Machine, type MachineFigures, type MachineState } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ServiceError } from '../services/errors'
import { DEFAULT_SETTINGS } from '../services/library/defaults'
import { addCloudInitOptions, cloudInitFrom, findTemplate, type CloudInitOptions } from './clones'
import { attachConsole, printLog } from './console'
import { withManager } from './connect'
import { ExitCode } from './exit-codes'
import { prepareImage } from './image'
import { inspect } from './inspect'
import { kernelAdvice } from './kernel-advice'
import { CliError, printable, printJson, printTable, say } from './output'
import { withProgress } from './progress'
import { findInTrash, findMachine, parseInteger } from './resolve'
import { addSettingsOptions, settingsFrom, type SettingsOptions } from './settings-options'

interface Json { readonly json?: boolean }

const OFF: readonly MachineState[] = ['stopped', 'saved', 'crashed', 'damaged']

/** Resolves when the machine's state satisfies the condition. @returns undefined where it did not in time */
async function waitFor(client: LocalClient, id: string, condition: (machine: Machine) => boolean, timeoutMs: number): Promise<Machine | undefined> {
  return new Promise((resolve, reject) => {
    const finish = (machine: Machine | undefined): void => {
      stop()
      clearTimeout(timer)
      resolve(machine)
    }
    const timer = setTimeout(() => finish(undefined), timeoutMs)
    const stop = client.subscribe('machine.changed', (machine) => {
      if (machine.id === id && condition(machine)) finish(machine)
    })
    // Asked after the subscription: a change between the two is not missed.
    client.call('machine.get', { id }).then((machine) => {
      if (condition(machine)) finish(machine)
    }, reject)
  })
}

const row = (machine: Machine): string[] =>
  [machine.name, machine.isTemplate ? 'template' : machine.state, `${machine.memoryMiB} MiB`, machine.pid === undefined ? '-' : String(machine.pid), machine.group || '-', machine.id]

async function list({ json }: Json): Promise<void> {
  const machines = await withManager((client) => client.call('machine.list', {}))
  if (json) printJson(machines)
  else printTable(['NAME', 'STATE', 'MEMORY', 'PID', 'GROUP', 'ID'], machines.map(row))
}

interface CreateOptions extends SettingsOptions, CloudInitOptions, Json {
  readonly image?: string
  readonly template?: string
  readonly full?: boolean
  readonly state: boolean
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const { image, json, full } = options
  if (![image, options.template, options.kernel].some((source) => source !== undefined)) {
    throw new CliError(ExitCode.USAGE, "what should it boot? Give --kernel FILE, --image ID ('nestbox image list' shows them) or --template NAME")
  }
  const settings = { name, ...settingsFrom(options) }
  const cloudInit = cloudInitFrom(options)
  const machine = await withManager(async (client) => {
    if (image !== undefined) await prepareImage(client, image, json ?? false)
    const template = options.template === undefined ? {} : { template: (await findTemplate(client, options.template)).id, ...(!options.state && { withState: false }) }
    const params = { settings, ...template, ...(image !== undefined && { image }), ...(full && { linked: false }), ...(cloudInit && { cloudInit }) }
    return withProgress(client, 'machine.create', json, () => client.call('machine.create', params))
  })
  if (options.json) printJson(machine)
  else say(false, `Created ${machine.name} (${machine.id}).`)
}

type Fact = readonly [what: string, value: string]

/** For people, the most wanted first; '' is left out. */
function factsOf(machine: Machine): Fact[] {
  const { problem, waitsFor, origin, disks } = machine
  return [
    ['name', machine.name], ['state', machine.isTemplate ? 'template' : machine.state], ['problem', problem === undefined ? '' : inEnglish(problem)],
    ['waits for room for', waitsFor?.path ?? ''], ['process', String(machine.pid ?? '')], ['memory', `${machine.memoryMiB} MiB`], ['CPU model', machine.cpuProfile],
    ['kernel', machine.kernel], ['initial RAM disk', machine.initrd], ['command line', machine.commandLine],
    ...disks.map(({ path, format, readOnly, cache, queues }, index): Fact => [`disk ${index + 1}`, [path, format, readOnly && 'read-only', cache && `cache ${cache}`, queues && `${queues} queues`]
      .filter(Boolean).join(', ')]),
    ['on restart', machine.onReset], ['highest tier', String(machine.maxTier)], ['group', machine.group], ['tags', machine.tags.join(', ')], ['notes', machine.notes],
    ['made from', origin ? `${origin.name} (${origin.kind}${origin.linked ? ', linked' : ''})` : ''], ['created', machine.createdAt ?? ''], ['started', machine.startedAt ?? ''], ['id', machine.id],
  ]
}

function figureFacts({ instructions, guestRunNs, residentGuestBytes, readBytes, writtenBytes }: MachineFigures): Fact[] {
  const running = guestRunNs / 1e9
  return [
    ['instructions', String(instructions)], ['speed', `${running > 0 ? (instructions / running / 1e6).toFixed(1) : '0'} million instructions per second`],
    ['guest memory in use', `${(residentGuestBytes / 2 ** 20).toFixed(0)} MiB`], ['disk', `${readBytes} bytes read, ${writtenBytes} bytes written`],
  ]
}

async function info(name: string, { json }: Json): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, name)
    const figures = await client.call('machine.figures', { id: machine.id })
    if (json) return printJson({ ...machine, figures })
    for (const [what, value] of [...factsOf(machine), ...(figures ? figureFacts(figures) : [])]) {
      if (value !== '') say(false, `${`${what}:`.padEnd(21)}${printable(value)}`)
    }
  })
}

async function set(name: string, options: SettingsOptions & Json & { name?: string }): Promise<void> {
  const settings = { ...settingsFrom(options), ...(options.name === undefined ? {} : { name: options.name }) }
  if (Object.keys(settings).length === 0) throw new CliError(ExitCode.USAGE, 'nothing to change: give at least one option')
  const machine = await withManager(async (client) => client.call('machine.update', { id: (await findMachine(client, name)).id, settings }))
  if (options.json) printJson(machine)
  else say(false, `Changed ${machine.name}.${OFF.includes(machine.state) ? '' : ' It takes effect at the next start.'}`)
}

/** A verb without options of its own: does it, then tells the machine as it is. */
function verb(done: string, act: (client: LocalClient, machine: Machine) => Promise<unknown>) {
  return (name: string, { json }: Json): Promise<void> => withManager(async (client) => {
    const machine = await findMachine(client, name)
    await act(client, machine)
    if (json) printJson(await client.call('machine.get', { id: machine.id }))
    else say(false, `${done} ${machine.name}.`)
  })
}

interface StopOptions extends Json {
  readonly force?: boolean
  readonly timeout: string
}

async function stop(name: string, { json, force, timeout }: StopOptions): Promise<void> {
  const seconds = parseInteger('--timeout', timeout, 'seconds')
  await withManager(async (client) => {
    const machine = await findMachine(client, name)
    if (force) await client.call('machine.forceStop', { id: machine.id })
    else await client.call('machine.powerOff', { id: machine.id })
    const off = await waitFor(client, machine.id, ({ state }) => OFF.includes(state), seconds * 1000)
    if (!off) throw new CliError(ExitCode.TIMEOUT, `${machine.name} did not switch itself off within ${seconds} s. 'nestbox vm stop --force' does not ask the guest.`)
    if (json) printJson(off)
    else say(false, `Stopped ${machine.name}.`)
  })
}

async function remove(name: string, { json }: Json): Promise<void> {
  const item = await withManager(async (client) => client.call('machine.delete', { id: (await findMachine(client, name)).id }))
  if (json) printJson(item)
  else say(false, `Moved ${item.name} to the trash. 'nestbox vm restore ${item.id}' brings it back.`)
}

async function restore(name: string, { json }: Json): Promise<void> {
  const machine = await withManager(async (client) => client.call('trash.restore', { id: (await findInTrash(client, name)).id }))
  if (json) printJson(machine)
  else say(false, `Restored ${machine.name}.`)
}

async function trash({ json }: Json): Promise<void> {
  const items = await withManager((client) => client.call('trash.list', {}))
  if (json) printJson(items)
  else printTable(['NAME', 'DELETED', 'BYTES', 'ID'], items.map((item) => [item.name, item.deletedAt, String(item.sizeBytes ?? '-'), item.id]))
}

async function purge(name: string, { json }: Json): Promise<void> {
  const item = await withManager(async (client) => {
    const found = await findInTrash(client, name)
    await client.call('trash.purge', { id: found.id })
    return found
  })
  if (json) printJson(item)
  else say(false, `Removed ${item.name} for good.`)
}

interface ConsoleOptions extends Json {
  readonly log?: boolean
  readonly port: string
}

async function openConsole(name: string, options: ConsoleOptions): Promise<void> {
  const { port } = options
  if (port !== 'ttyS0' && port !== 'hvc0') throw new CliError(ExitCode.USAGE, `--port ${port}: must be ttyS0 or hvc0`)
  process.exitCode = await withManager(async (client) => {
    const machine = await findMachine(client, name)
    if (!options.log) return attachConsole(client, machine, port satisfies ConsolePort)
    await printLog(client, machine, port, options.json ?? false)
    return ExitCode.OK
  })
}

async function log(name: string, { json, lines }: Json & { lines: string }): Promise<void> {
  const entries = await withManager(async (client) =>
    client.call('machine.log', { id: (await findMachine(client, name)).id, lines: parseInteger('--lines', lines) }))
  if (json) return printJson(entries)
  for (const { time, level, text } of entries) say(false, `${time} ${level} ${printable(text)}`)
}

async function start(name: string, { json, fresh }: Json & { fresh?: boolean }): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, name)
    await client.call('machine.start', { id: machine.id, ...(fresh ? { fresh } : {}) }).catch((error: unknown) => {
      throw error instanceof ServiceError && error.code === 'bad-kernel' ? new ServiceError('bad-kernel', kernelAdvice(machine.kernel, error.message), error.details) : error
    })
    if (json) printJson(await client.call('machine.get', { id: machine.id }))
    else say(false, `${machine.state === 'saved' && !fresh ? 'Resumed' : 'Started'} ${machine.name}.`)
  })
}

async function suspend(name: string, { json }: Json): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, name)
    const saved = await client.call('machine.suspend', { id: machine.id })
    if (json) printJson({ ...(await client.call('machine.get', { id: machine.id })), saved })
    else say(false, `Suspended ${machine.name}: ${(saved.fileBytes / 2 ** 20).toFixed(1)} MiB in ${(saved.ms / 1000).toFixed(1)} s.`)
  })
}

const discard = verb('Discarded the saved state of', (client, { id }) => client.call('machine.discardSaved', { id }))
const pause = verb('Paused', (client, { id }) => client.call('machine.pause', { id }))
const resume = verb('Resumed', (client, { id }) => client.call('machine.resume', { id }))
const reset = verb('Reset', (client, { id }) => client.call('machine.reset', { id }))

/** @returns the command group */
export function addVmCommands(program: Command): Command {
  const vm = program.command('vm').description('the machines of the library; NAME is a name or a UUID')
  const command = (text: string, description: string): Command => vm.command(text).description(description).option('--json', 'print JSON')
  command('list', 'all machines').action(list)
  addCloudInitOptions(addSettingsOptions(command('create <name>', 'make a machine from a kernel, an image or a template')
    .option('--image <id>', "image to make it from, such as 'starter'").option('--template <name>', 'template to make it from')
    .option('--full', 'with copies of the template\'s disks, where they would be laid over them').option('--no-state', "boots, where the template's state would go on")))
    .addHelpText('after', `\nUnless given: ${DEFAULT_SETTINGS.memoryMiB} MiB of memory, CPU model ${DEFAULT_SETTINGS.cpuProfile}, command line '${DEFAULT_SETTINGS.commandLine}', no disks, the fastest engine.`).action(create)
  command('start <name>', 'start a machine, or continue a suspended one').option('--fresh', 'boot it even if it is suspended: the saved state is lost').action(start)
  command('suspend <name>', 'write a running machine to disk and end it; start continues it').action(suspend)
  command('discard <name>', 'throw the saved state of a suspended machine away').action(discard)
  command('stop <name>', 'press the power button and wait for the guest to switch itself off')
    .option('--force', 'switch off without asking the guest').option('--timeout <seconds>', 'how long to wait', '60').action(stop)
  command('pause <name>', 'freeze a machine').action(pause)
  command('resume <name>', 'let a paused machine go on').action(resume)
  command('reset <name>', 'press the reset button').action(reset)
  command('info <name>', 'settings, state and figures').action(info)
  addSettingsOptions(command('set <name>', 'change settings').option('--name <name>', 'new name')).action(set)
  command('delete <name>', 'move a stopped machine to the trash').action(remove)
  command('restore <name>', 'bring a machine back from the trash').action(restore)
  command('trash', 'deleted machines').action(trash)
  command('purge <name>', 'remove a machine in the trash for good').action(purge)
  command('console <name>', 'attach this terminal to a console (Ctrl-A X leaves)')
    .option('--log', 'print what was said so far instead').option('--port <ttyS0|hvc0>', 'which console', 'ttyS0').action(openConsole)
  command('inspect <name>', 'where the time of a running machine goes, and the guest code that takes it')
    .option('--watch', 'look again every two seconds').option('--count <n>', 'blocks of guest code shown', '10')
    .option('--wasm <address>', 'print the WebAssembly that the block at this address became instead').action(inspect)
  command('log <name>', "the machine's own log").option('--lines <n>', 'how many', '200').action(log)
  return vm
}

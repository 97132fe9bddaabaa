/** `nestbox vm clone|fork|export|import` and `nestbox template …`: machines made from others, machines that travel. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { inEnglish, sayValue, type ArchiveFormat, type CloudInit, type Machine, type Template, type Said } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ServiceError, whyOf } from '../services/errors'
import { withManager } from './connect'
import { ExitCode } from './exit-codes'
import { CliError, printable, printJson, printTable, say } from './output'
import { withProgress } from './progress'
import { findMachine } from './resolve'
import { collect } from './disk-options'
import { findSnapshot } from './snapshot'

interface Json { readonly json?: boolean }

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** @throws ServiceError not-found, wrong-state */
export async function findTemplate(client: LocalClient, wanted: string): Promise<Machine> {
  const machine = await findMachine(client, wanted).catch((error: unknown) => {
    if (!(error instanceof ServiceError) || error.code !== 'not-found') throw error
    throw new ServiceError('not-found', `There is no template '${wanted}'. 'nestbox template list' shows them.`, { name: wanted })
  })
  if (!machine.isTemplate) throw new ServiceError('wrong-state', `${machine.name} is no template. 'nestbox template list' shows them.`, { name: wanted })
  return machine
}

export interface CloudInitOptions {
  readonly hostname?: string
  readonly user?: string
  readonly sshKey?: readonly string[]
}

export function addCloudInitOptions(command: Command): Command {
  return command
    .option('--hostname <name>', 'cloud-init: name of the guest')
    .option('--user <name>', 'cloud-init: an account with the right to become root')
    .option('--ssh-key <file>', 'cloud-init: public key that may log in; may be repeated', collect)
}

/** The keys in a file such as `~/.ssh/id_ed25519.pub`. */
function readKeys(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  } catch (error) {
    throw new CliError(ExitCode.USAGE, `--ssh-key ${path}: ${sayValue(whyOf(error), inEnglish)}`)
  }
}

/** undefined where nothing was given. */
export function cloudInitFrom({ hostname, user, sshKey }: CloudInitOptions): CloudInit | undefined {
  if (hostname === undefined && user === undefined && sshKey === undefined) return undefined
  return { ...(hostname !== undefined && { hostname }), ...(user !== undefined && { user }), ...(sshKey !== undefined && { sshKeys: sshKey.flatMap(readKeys) }) }
}

async function clone(vm: string, name: string, { json, snapshot, linked }: Json & { snapshot?: string; linked?: boolean }): Promise<void> {
  const made = await withManager(async (client) => {
    const machine = await findMachine(client, vm)
    const from = snapshot === undefined ? {} : { snapshotId: (await findSnapshot(client, machine, snapshot)).id }
    return withProgress(client, 'machine.clone', json, () => client.call('machine.clone', { id: machine.id, name, ...from, ...(linked && { linked }) }))
  })
  if (json) printJson(made)
  else say(false, `Cloned ${printable(vm)} as ${made.name} (${made.id}).`)
}

async function fork(vm: string, name: string, { json }: Json): Promise<void> {
  const made = await withManager(async (client) => {
    const { id } = await findMachine(client, vm)
    return withProgress(client, 'machine.fork', json, () => client.call('machine.fork', { id, name }))
  })
  if (json) printJson(made)
  else say(false, `${made.name} (${made.id}) goes on from ${printable(vm)}, which stood for ${made.pauseMs.toFixed(0)} ms.`)
}

/** On standard error: the result may be read by a script. */
function warn(warnings: readonly Said[]): void {
  for (const text of warnings) process.stderr.write(`nestbox: ${printable(inEnglish(text))}\n`)
}

interface ExportOptions extends Json {
  readonly format?: string
  readonly force?: boolean
  readonly snapshots: boolean
}

function parseFormat(format: string): ArchiveFormat {
  if (format === 'nestbox' || format === 'ova') return format
  throw new CliError(ExitCode.USAGE, `--format ${format}: must be nestbox or ova`)
}

async function exportTo(vm: string, file: string, { json, format, force, snapshots }: ExportOptions): Promise<void> {
  const wanted = format === undefined ? {} : { format: parseFormat(format) }
  const done = await withManager(async (client) => {
    const { id } = await findMachine(client, vm)
    const params = { id, path: resolve(file), snapshots, ...wanted, ...(force && { overwrite: true }) }
    return withProgress(client, 'machine.export', json, () => client.call('machine.export', params))
  })
  if (json) return printJson(done)
  warn(done.warnings)
  say(false, `Exported ${printable(vm)} to ${done.path} (${mib(done.bytes)}).`)
}

async function importFrom(file: string, { json, name }: Json & { name?: string }): Promise<void> {
  const done = await withManager((client) => withProgress(client, 'machine.import', json, () =>
    client.call('machine.import', { path: resolve(file), ...(name !== undefined && { name }) })))
  if (json) return printJson(done)
  warn(done.warnings)
  say(false, `Imported ${done.machine.name} (${done.machine.id}).`)
}

async function createTemplate(vm: string, { json, copy }: Json & { copy?: string }): Promise<void> {
  const made = await withManager(async (client) => {
    const { id } = await findMachine(client, vm)
    return withProgress(client, 'template.create', json, () => client.call('template.create', { id, ...(copy !== undefined && { name: copy }) }))
  })
  if (json) printJson(made)
  else say(false, `${made.name} is a template.`)
}

const row = ({ name, hasState, memoryMiB, bytes, madeFrom, id }: Template): string[] =>
  [name, hasState ? 'runs at once' : 'boots', `${memoryMiB} MiB`, mib(bytes), madeFrom.map((made) => `${made.name}${made.linked ? ' (linked)' : ''}`).join(', ') || '-', id]

async function listTemplates({ json }: Json): Promise<void> {
  const templates = await withManager((client) => client.call('template.list', {}))
  if (json) printJson(templates)
  else printTable(['NAME', 'MACHINES', 'MEMORY', 'SIZE', 'MADE FROM IT', 'ID'], templates.map(row))
}

async function deleteTemplate(name: string, { json }: Json): Promise<void> {
  const item = await withManager(async (client) => client.call('template.delete', { id: (await findTemplate(client, name)).id }))
  if (json) printJson(item)
  else say(false, `Moved ${item.name} to the trash. 'nestbox vm restore ${item.id}' brings it back.`)
}

async function releaseTemplate(name: string, { json }: Json): Promise<void> {
  const machine = await withManager(async (client) => client.call('template.release', { id: (await findTemplate(client, name)).id }))
  if (json) printJson(machine)
  else say(false, `${machine.name} is a machine like others again.`)
}

/** @param vm the command group `nestbox vm` */
export function addCloneCommands(program: Command, vm: Command): void {
  const add = (group: Command) => (text: string, description: string): Command => group.command(text).description(description).option('--json', 'print JSON')
  const machine = add(vm)
  machine('clone <name> <new-name>', 'a machine of its own like one that is off or suspended, or like a snapshot')
    .option('--snapshot <name>', 'as in this snapshot').option('--linked', 'its disks hold only what differs').action(clone)
  machine('fork <name> <new-name>', 'a second machine that goes on from this instant of a running one').action(fork)
  machine('export <name> <file>', 'write a machine to a .nestbox archive or an .ova package')
    .option('--format <nestbox|ova>', "where the file's name does not say it").option('--force', 'replace a file that is there')
    .option('--no-snapshots', 'leave the snapshots out').action(exportTo)
  machine('import <file>', 'make a machine from a .nestbox archive or an OVA or OVF package').option('--name <name>', 'call it so').action(importFrom)
  const template = add(program.command('template').description('machines that others are made from: read-only, cannot start'))
  template('create <name>', 'make a template of a machine that is off or suspended').option('--copy <new-name>', 'of a copy; the machine stays what it is').action(createTemplate)
  template('list', 'all templates and what was made from them').action(listTemplates)
  template('delete <name>', 'move a template to the trash').action(deleteTemplate)
  template('release <name>', 'make it a machine like others again').action(releaseTemplate)
}

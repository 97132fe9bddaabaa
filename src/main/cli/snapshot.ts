/** `nestbox snapshot …`: named points a machine can go back to. */
import type { Command } from 'commander'
import { inEnglish, type Machine, type Snapshot, type SnapshotTree } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ServiceError } from '../services/errors'
import { sameName } from '../services/library/names'
import { withManager } from './connect'
import { printable, printJson, printTable, say } from './output'
import { findMachine } from './resolve'

interface Json { readonly json?: boolean }

/** By UUID or name. @throws ServiceError not-found */
export async function findSnapshot(client: LocalClient, machine: Machine, wanted: string): Promise<Snapshot> {
  const { snapshots, damaged = [] } = await client.call('snapshot.list', { id: machine.id })
  const broken = damaged.find(({ id }) => id === wanted.toLowerCase())
  if (broken) throw new ServiceError('machine-damaged', broken.problem, { id: broken.id })
  const found = snapshots.find(({ id }) => id === wanted.toLowerCase()) ?? snapshots.find(({ name }) => sameName(name, wanted))
  if (!found) throw new ServiceError('not-found', `${machine.name} has no snapshot '${wanted}'. 'nestbox snapshot list' shows them.`, { name: wanted })
  return found
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

async function take(vm: string, name: string | undefined, { notes, json }: Json & { notes?: string }): Promise<void> {
  const taken = await withManager(async (client) => {
    const { id } = await findMachine(client, vm)
    return client.call('snapshot.take', { id, ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) })
  })
  if (json) printJson(taken)
  else say(false, `Took ${taken.name} (${mib(taken.bytes)})${taken.pauseMs === undefined ? '' : `; the guest stood for ${taken.pauseMs.toFixed(0)} ms`}.`)
}

/** Depth first, so that a tree is seen. */
function* inTree({ snapshots }: SnapshotTree, parent: string | null = null, depth = 0): Generator<readonly [Snapshot, number]> {
  for (const snapshot of snapshots.filter((entry) => entry.parent === parent)) {
    yield [snapshot, depth]
    yield* inTree({ snapshots, current: null }, snapshot.id, depth + 1)
  }
}

async function list(vm: string, { json }: Json): Promise<void> {
  const tree = await withManager(async (client) => client.call('snapshot.list', { id: (await findMachine(client, vm)).id }))
  if (json) return printJson(tree)
  for (const { problem } of tree.damaged ?? []) process.stderr.write(`nestbox: ${printable(inEnglish(problem))}\n`)
  const rows = [...inTree(tree)].map(([{ id, name, createdAt, hasState, bytes }, depth]) =>
    [`${'  '.repeat(depth)}${printable(name)}${id === tree.current ? ' *' : ''}`, createdAt, hasState ? 'disks and memory' : 'disks', mib(bytes), id])
  printTable(['NAME', 'TAKEN', 'HOLDS', 'SIZE', 'ID'], rows)
}

async function restore(vm: string, name: string, { json, start, fresh, keepCurrent }: Json & { start?: boolean; fresh?: boolean; keepCurrent: boolean }): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, vm)
    const snapshot = await findSnapshot(client, machine, name)
    const { undo } = await client.call('snapshot.restore', { id: machine.id, snapshotId: snapshot.id, keepCurrent, ...(start ? { start } : {}), ...(fresh ? { withState: false } : {}) })
    if (json) printJson({ ...(await client.call('machine.get', { id: machine.id })), undo })
    else say(false, `${machine.name} is as in ${snapshot.name}.${undo === null ? '' : ` What was there is kept as snapshot ${undo}.`}`)
  })
}

async function remove(vm: string, name: string, { json }: Json): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, vm)
    const { damaged = [] } = await client.call('snapshot.list', { id: machine.id })
    // One that cannot be read has no name, and can be deleted all the same.
    const snapshot = damaged.find(({ id }) => id === name.toLowerCase()) ?? await findSnapshot(client, machine, name)
    await client.call('snapshot.delete', { id: machine.id, snapshotId: snapshot.id })
    if (json) printJson(snapshot)
    else say(false, `Deleted ${'name' in snapshot ? snapshot.name : snapshot.id}.`)
  })
}

async function rename(vm: string, name: string, newName: string, { json, notes }: Json & { notes?: string }): Promise<void> {
  await withManager(async (client) => {
    const machine = await findMachine(client, vm)
    const { id: snapshotId } = await findSnapshot(client, machine, name)
    const changed = await client.call('snapshot.change', { id: machine.id, snapshotId, name: newName, ...(notes === undefined ? {} : { notes }) })
    if (json) printJson(changed)
    else say(false, `Renamed to ${changed.name}.`)
  })
}

export function addSnapshotCommands(program: Command): void {
  const snapshot = program.command('snapshot').description('points a machine can go back to; VM and NAME are names or UUIDs')
  const command = (text: string, description: string): Command => snapshot.command(text).description(description).option('--json', 'print JSON')
  command('take <vm> [name]', 'keep disks, and memory where it runs; a running machine goes on').option('--notes <text>', 'what it is for').action(take)
  command('list <vm>', 'the tree; * marks what the present descends from').action(list)
  command('restore <vm> <name>', 'go back; what is there now is kept as a snapshot')
    .option('--no-keep-current', 'what is there now is lost').option('--start', 'and go on at once').option('--fresh', 'disks and settings only: its memory is not used, the machine boots')
    .action(restore)
  command('delete <vm> <name>', 'remove a snapshot; those taken after it stay').action(remove)
  command('rename <vm> <name> <new-name>', 'give a snapshot another name').option('--notes <text>', 'and other notes').action(rename)
}

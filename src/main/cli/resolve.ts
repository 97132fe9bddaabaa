/** What a person means by a name on the command line. */
import { resolve } from 'node:path'
import { diskCache, type DiskSettings, type Machine, type TrashItem } from '../../preload/contract'
import type { LocalClient } from '../ipc/local-client'
import { ServiceError } from '../services/errors'
import { sameName } from '../services/library/names'
import { ExitCode } from './exit-codes'
import { CliError } from './output'

/** By UUID or name. @throws ServiceError not-found */
export async function findMachine(client: LocalClient, wanted: string): Promise<Machine> {
  const machines = await client.call('machine.list', {})
  const found = machines.find(({ id }) => id === wanted.toLowerCase()) ?? machines.find(({ name }) => sameName(name, wanted))
  if (!found) throw new ServiceError('not-found', `There is no machine '${wanted}'. 'nestbox vm list' shows them.`, { name: wanted })
  return found
}

/** By UUID or name; of several with one name the one deleted last. @throws ServiceError not-found */
export async function findInTrash(client: LocalClient, wanted: string): Promise<TrashItem> {
  const items = [...await client.call('trash.list', {})].sort((a, b) => b.deletedAt.localeCompare(a.deletedAt))
  const found = items.find((item) => item.id === wanted.toLowerCase() || item.machineId === wanted.toLowerCase()) ?? items.find(({ name }) => sameName(name, wanted))
  if (!found) throw new ServiceError('not-found', `There is no machine '${wanted}' in the trash. 'nestbox vm trash' shows what is.`, { name: wanted })
  return found
}

/** `FILE[,format=raw|qcow2][,cache=MODE][,queues=N][,readonly]`; the file's path relative to where the command runs. */
export function parseDisk(text: string): DiskSettings {
  const [path, ...flags] = text.split(',')
  const disk: DiskSettings = { path: resolve(path), format: 'raw', readOnly: false }
  if (path === '') throw new CliError(ExitCode.USAGE, `--disk ${text}: a file is needed`)
  for (const flag of flags) {
    const cache = diskCache.options.find((name) => flag === `cache=${name}`)
    const queues = /^queues=([1-8])$/.exec(flag)
    if (flag === 'readonly') disk.readOnly = true
    else if (cache) disk.cache = cache
    else if (queues) disk.queues = Number(queues[1])
    else if (flag === 'format=raw' || flag === 'format=qcow2') disk.format = flag === 'format=raw' ? 'raw' : 'qcow2'
    else throw new CliError(ExitCode.USAGE, `--disk ${text}: '${flag}' is not known (readonly, format=raw|qcow2, cache=${diskCache.options.join('|')}, queues=1…8)`)
  }
  return disk
}

/** @param unit what is counted, such as `MiB` */
export function parseInteger(option: string, text: string, unit?: string): number {
  if (!/^\d+$/.test(text)) throw new CliError(ExitCode.USAGE, `${option} ${text}: a whole number${unit ? ` of ${unit}` : ''} is needed`)
  return Number(text)
}

/** The seed of cloud-init's NoCloud: a small read-only CD labelled `cidata` with `meta-data` and `user-data`. */
import { basename, join } from 'node:path'
import { LIMITS, phrase, type CloudInit, type MachineSettings } from '../../../preload/contract'
import { buildIso } from '../../host/iso9660'
import { ServiceError } from '../errors'
import { makeFolder, writeAtomic } from '../files'
import type { NewFolder } from '../library'

export const SEED_FILE = 'seed.iso'
/** The label that cloud-init looks for. */
const LABEL = 'cidata'

/** A host's name after a machine's. */
export function hostnameOf(name: string): string {
  const plain = name.normalize('NFKD').toLowerCase().replace(/\p{M}/gu, '').replace(/[^a-z0-9]+/g, '-')
  return plain.slice(0, 63).replace(/^-+|-+$/g, '') || 'nestbox'
}

/** JSON is YAML too, and leaves nothing to quote. */
const yaml = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

/** @param instanceId another one than at its last boot makes cloud-init set everything again */
export function seedFiles({ hostname, user, sshKeys = [] }: CloudInit, instanceId: string, machineName: string): { readonly name: string; readonly text: string }[] {
  const name = hostname ?? hostnameOf(machineName)
  const short = name.split('.')[0]
  const keys = sshKeys.length === 0 ? {} : { ssh_authorized_keys: sshKeys }
  const account = user === undefined ? keys : {
    users: ['default', { name: user, shell: '/bin/bash', sudo: 'ALL=(ALL) NOPASSWD:ALL', lock_passwd: true, ...keys }],
  }
  const userData = { hostname: short, ...(name === short ? {} : { fqdn: name }), preserve_hostname: false, manage_etc_hosts: true, ...account }
  return [
    { name: 'meta-data', text: yaml({ 'instance-id': instanceId, 'local-hostname': name }) },
    { name: 'user-data', text: `#cloud-config\n${yaml(userData)}` },
  ]
}

/** Puts the seed into the machine's folder, in the place of one it has already. @throws ServiceError invalid-argument, disk-full, library-read-only */
export async function addSeed<S extends Pick<MachineSettings, 'name'> & Partial<MachineSettings>>(settings: S, cloudInit: CloudInit, folder: NewFolder): Promise<S> {
  const files = seedFiles(cloudInit, folder.id, settings.name).map(({ name, text }) => ({ name, data: new TextEncoder().encode(text) }))
  const isSeed = (path: string): boolean => path.startsWith(folder.finalDir) && basename(path).replace(/^\d+-/, '') === SEED_FILE
  const disks = (settings.disks ?? []).filter(({ path }) => !isSeed(path))
  if (disks.length >= LIMITS.disks) throw new ServiceError('invalid-argument', phrase('clone.noRoomForSeed'))
  await makeFolder(join(folder.dir, 'disks'))
  await writeAtomic(join(folder.dir, 'disks', SEED_FILE), buildIso(LABEL, files))
  return { ...settings, disks: [...disks, { path: join(folder.finalDir, 'disks', SEED_FILE), format: 'raw', readOnly: true }] }
}

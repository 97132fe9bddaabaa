/** Machines made from others, and machines that travel between computers. */
import { z } from 'zod'
import { machine, machineReference } from './machine'
import { said } from './phrase'

/** `nestbox`: our own archive, with everything; `ova`: one file for VirtualBox, VMware and others, with disks and hardware. */
export const archiveFormat = z.enum(['nestbox', 'ova'])
export type ArchiveFormat = z.infer<typeof archiveFormat>

export const exported = z.object({
  path: z.string(),
  format: archiveFormat,
  bytes: z.number(),
  /** What the format cannot hold, for people. */
  warnings: z.array(said),
})
export type Exported = z.infer<typeof exported>

export const imported = z.object({
  machine,
  /** What could not be taken over or checked, for people. */
  warnings: z.array(said),
})
export type Imported = z.infer<typeof imported>

export const template = machine.extend({
  /** Machines made from it have its memory and go on where it stood. */
  hasState: z.boolean(),
  /** Machines made from it that still are there. */
  madeFrom: z.array(machineReference),
  /** On disk. */
  bytes: z.number(),
})
export type Template = z.infer<typeof template>

/** RFC 1123: a host's name, with its domain where it has one. */
const HOSTNAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i
/** As `useradd` takes them. */
const USER = /^[a-z_][a-z0-9_-]{0,31}$/
/** One line of `authorized_keys`: type, base64, comment. */
const SSH_KEY = /^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [^\p{Cc}]*)?$/u

/** What cloud-init in the guest sets at its first boot; it gets them on a small disk of their own. */
export const cloudInit = z.object({
  hostname: z.string().regex(HOSTNAME).optional(),
  /** Made where it is missing, with the right to become root. */
  user: z.string().regex(USER).optional(),
  sshKeys: z.array(z.string().trim().max(16_384).regex(SSH_KEY)).max(32).optional(),
})
export type CloudInit = z.infer<typeof cloudInit>

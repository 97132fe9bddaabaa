/** Official images that are fetched from where their makers publish them. */

import { phrase, type Phrase } from '../../../preload/contract'

export interface CatalogFile {
  readonly role: 'kernel' | 'initrd'
  /** Below the entry's `base`, as the checksum list names it. */
  readonly path: string
}

export interface CatalogEntry {
  /** Lower case, digits and dashes: the folder of the files, too. */
  readonly id: string
  readonly name: string
  readonly description: Phrase
  /** Where it can be read about. */
  readonly home: string
  /** Why it cannot be had yet; such an entry names no files. */
  readonly unavailable?: Phrase
  readonly source?: {
    /** Ends with a slash. */
    readonly base: string
    readonly files: readonly CatalogFile[]
    /** The maker's list of checksums, below `base`: it changes together with the files, a number written here would not. */
    readonly checksums: string
    readonly algorithm: 'sha256' | 'sha512'
    readonly commandLine: string
  }
}

const NEEDS_FIRMWARE = phrase('image.needsFirmware')

export const CATALOG: readonly CatalogEntry[] = [
  {
    id: 'debian-12-installer',
    name: 'Debian 12 installer',
    description: phrase('about.debian12Installer'),
    home: 'https://www.debian.org/distrib/netinst',
    source: {
      base: 'https://deb.debian.org/debian/dists/bookworm/main/installer-amd64/current/images/',
      files: [
        { role: 'kernel', path: 'netboot/debian-installer/amd64/linux' },
        { role: 'initrd', path: 'netboot/debian-installer/amd64/initrd.gz' },
      ],
      checksums: 'SHA256SUMS',
      algorithm: 'sha256',
      commandLine: 'console=ttyS0',
    },
  },
  { id: 'debian-12-cloud', name: 'Debian 12 (cloud image)', description: phrase('about.debian12Cloud'), home: 'https://cloud.debian.org', unavailable: NEEDS_FIRMWARE },
  { id: 'alpine-virt', name: 'Alpine Linux (virt)', description: phrase('about.alpineVirt'), home: 'https://alpinelinux.org/downloads', unavailable: NEEDS_FIRMWARE },
  { id: 'freedos', name: 'FreeDOS', description: phrase('about.freedos'), home: 'https://www.freedos.org', unavailable: NEEDS_FIRMWARE },
]

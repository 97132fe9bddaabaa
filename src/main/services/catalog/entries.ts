/** Official images that are fetched from where their makers publish them. */

export interface CatalogFile {
  readonly role: 'kernel' | 'initrd'
  /** Below the entry's `base`, as the checksum list names it. */
  readonly path: string
}

export interface CatalogEntry {
  /** Lower case, digits and dashes: the folder of the files, too. */
  readonly id: string
  readonly name: string
  readonly description: string
  /** Where it can be read about. */
  readonly home: string
  /** Why it cannot be had yet; such an entry names no files. */
  readonly unavailable?: string
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

const NEEDS_FIRMWARE = 'It starts from a disk or CD image, which needs a BIOS: this version starts Linux kernels directly.'

export const CATALOG: readonly CatalogEntry[] = [
  {
    id: 'debian-12-installer',
    name: 'Debian 12 installer',
    description: 'The network installer over the serial console. Its rescue shell works; installing needs a network card, which this version does not have.',
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
  { id: 'debian-12-cloud', name: 'Debian 12 (cloud image)', description: 'Debian installed on a disk, made for virtual machines.', home: 'https://cloud.debian.org', unavailable: NEEDS_FIRMWARE },
  { id: 'alpine-virt', name: 'Alpine Linux (virt)', description: 'A small Linux on a CD image, made for virtual machines.', home: 'https://alpinelinux.org/downloads', unavailable: NEEDS_FIRMWARE },
  { id: 'freedos', name: 'FreeDOS', description: 'A free DOS on a CD image.', home: 'https://www.freedos.org', unavailable: NEEDS_FIRMWARE },
]

/** A machine as it is told between programs: what OVF can say, no more. */

export type DiskController = 'ide' | 'sata' | 'scsi' | 'nvme' | 'virtio'

/** How a file is in the package, where it is not there as it is (DSP0243 7.1). */
export interface FilePacking {
  readonly isGzip: boolean
  /** It is in so many files, called `<name>.000000000` and so on. */
  readonly chunks?: number | 'unknown'
}

export interface ApplianceDisk {
  /** Plain name of the file beside the description; '' for an empty disk. */
  readonly fileName: string
  readonly packing?: FilePacking
  readonly capacityBytes: number
  /** URI or name of the format as the description has it; '' where it does not say. */
  readonly format: string
  readonly controller: DiskController
  /** The controller's number among its kind, then the place on it. */
  readonly bus: number
  readonly unit: number
}

export interface ApplianceNetwork {
  /** Name of the network it is connected to. */
  readonly network: string
  /** Such as `E1000`; '' where the description does not say. */
  readonly adapter: string
  /** '' for any. */
  readonly mac: string
}

/** How our own machines boot; other programs skip it. */
export interface DirectBoot {
  readonly kernelFile: string
  /** '' for none. */
  readonly initrdFile: string
  readonly commandLine: string
  readonly cpuProfile: string
}

export interface Appliance {
  readonly name: string
  readonly description: string
  /** Number of the CIM class for operating systems, 0 for unknown. */
  readonly osId: number
  readonly osName: string
  readonly cpus: number
  readonly memoryMiB: number
  /** In the order of controllers and places. */
  readonly disks: readonly ApplianceDisk[]
  readonly networks: readonly ApplianceNetwork[]
  readonly directBoot?: DirectBoot
}

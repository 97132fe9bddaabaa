/** OVF 1.x and 2.x (DMTF DSP0243), as VirtualBox and VMware write them. */
import type { Appliance, ApplianceDisk, ApplianceNetwork, DirectBoot, DiskController } from '../appliance'
import { XmlError, parseXml, type XmlElement } from './xml'

export class OvfError extends Error {}

const MAX_DISKS = 64
/** Numbers of CIM resource types. */
const RESOURCE = { cpu: 3, memory: 4, ide: 5, scsi: 6, network: 10, disk: 17, otherStorage: 20 } as const
const ITEMS = ['Item', 'StorageItem', 'EthernetPortItem']

const UNIT_NAMES: Readonly<Record<string, number>> = {
  byte: 1, bytes: 1, kilobytes: 2 ** 10, kb: 2 ** 10, megabytes: 2 ** 20, mb: 2 ** 20, gigabytes: 2 ** 30, gb: 2 ** 30, terabytes: 2 ** 40, tb: 2 ** 40,
}

/** Bytes of one unit, such as `byte * 2^20` or the older `MegaBytes`. @throws OvfError */
function unitBytes(unit: string, otherwise: number): number {
  const plain = unit.trim().toLowerCase()
  if (plain === '') return otherwise
  const power = /^bytes?\s*\*\s*(2|10)\s*\^\s*(\d{1,2})$/.exec(plain)
  if (power) return Number(power[1]) ** Number(power[2])
  const known = Object.hasOwn(UNIT_NAMES, plain) ? UNIT_NAMES[plain] : undefined
  if (known === undefined) throw new OvfError(`the unit '${unit.slice(0, 40)}' is not known`)
  return known
}

/** @throws OvfError where the text is no whole number that makes sense */
function whole(text: string, what: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text)
  if (!/^\d{1,20}$/.test(text) || !Number.isSafeInteger(value) || value > most) throw new OvfError(`${what}: '${text.slice(0, 40)}' is not possible`)
  return value
}

interface Item {
  readonly element: XmlElement
  readonly id: string
  readonly type: number
}

/** The devices of the machine itself, not the bounds of what it could have. */
function itemsOf(hardware: XmlElement): Item[] {
  return hardware.children.filter(({ name }) => ITEMS.includes(name))
    .filter((element) => element.attribute('bound') === '' || element.attribute('bound') === 'normal')
    .map((element) => ({ element, id: element.textOf('InstanceID') || element.textOf('InstanceId'), type: whole(element.textOf('ResourceType'), 'ResourceType', 65535) }))
}

function controllerKind({ element, type }: Item): DiskController | undefined {
  const subtype = element.textOf('ResourceSubType').toLowerCase()
  if (type === RESOURCE.ide) return 'ide'
  if (type === RESOURCE.scsi) return subtype.includes('virtio') ? 'virtio' : 'scsi'
  if (type !== RESOURCE.otherStorage) return undefined
  if (subtype.includes('nvme')) return 'nvme'
  if (subtype.includes('virtio')) return 'virtio'
  return subtype.includes('scsi') ? 'scsi' : 'sata'
}

interface DiskTable {
  readonly disks: ReadonlyMap<string, XmlElement>
  readonly files: ReadonlyMap<string, XmlElement>
}

function byId(elements: readonly XmlElement[], attribute: string): Map<string, XmlElement> {
  const table = new Map<string, XmlElement>()
  for (const element of elements) {
    const id = element.attribute(attribute)
    if (table.has(id)) throw new OvfError(`the ${attribute} '${id.slice(0, 40)}' is there twice`)
    table.set(id, element)
  }
  return table
}

function fileName({ files }: DiskTable, ref: string): string {
  const file = files.get(ref)
  if (!file) throw new OvfError(`the file '${ref.slice(0, 40)}' is referred to and not listed`)
  if (!['', 'identity'].includes(file.attribute('compression'))) throw new OvfError(`the file '${ref}' is compressed as a whole (${file.attribute('compression')}), which is not supported`)
  if (file.attribute('chunkSize') !== '') throw new OvfError(`the file '${ref}' is split into chunks, which is not supported`)
  return file.attribute('href')
}

function readDisk(item: Item, table: DiskTable, controllers: ReadonlyMap<string, { kind: DiskController; bus: number }>, place: number): ApplianceDisk {
  const resource = item.element.textOf('HostResource')
  const [, kind, id] = /^(?:ovf:)?\/?(disk|file)\/(.+)$/.exec(resource) ?? []
  if (kind === undefined) throw new OvfError(`the disk's resource '${resource.slice(0, 60)}' is not known`)
  const controller = controllers.get(item.element.textOf('Parent')) ?? { kind: 'sata', bus: 0 }
  const unitText = item.element.textOf('AddressOnParent')
  const where = { controller: controller.kind, bus: controller.bus, unit: unitText === '' ? place : whole(unitText, 'AddressOnParent', 65535) }
  if (kind === 'file') return { ...where, fileName: fileName(table, id), capacityBytes: 0, format: '' }
  const disk = table.disks.get(id)
  if (!disk) throw new OvfError(`the disk '${id.slice(0, 40)}' is referred to and not described`)
  if (disk.attribute('parentRef') !== '') throw new OvfError(`the disk '${id}' holds only changes to another one, which is not supported`)
  const capacityBytes = whole(disk.attribute('capacity'), 'capacity') * unitBytes(disk.attribute('capacityAllocationUnits'), 1)
  if (!Number.isSafeInteger(capacityBytes)) throw new OvfError(`the disk '${id}' is larger than any disk`)
  const ref = disk.attribute('fileRef')
  return { ...where, fileName: ref === '' ? '' : fileName(table, ref), capacityBytes, format: disk.attribute('format') }
}

const CONTROLLER_ORDER: readonly DiskController[] = ['ide', 'sata', 'scsi', 'nvme', 'virtio']

function readDisks(items: readonly Item[], table: DiskTable): ApplianceDisk[] {
  const controllers = new Map<string, { kind: DiskController; bus: number }>()
  for (const item of items) {
    const kind = controllerKind(item)
    if (!kind) continue
    const bus = [...controllers.values()].filter((other) => other.kind === kind).length
    controllers.set(item.id, { kind, bus })
  }
  const drives = items.filter(({ type }) => type === RESOURCE.disk)
  if (drives.length > MAX_DISKS) throw new OvfError(`${drives.length} disks are more than are supported`)
  const disks = drives.map((item, place) => readDisk(item, table, controllers, place))
  const rank = ({ controller }: ApplianceDisk): number => CONTROLLER_ORDER.indexOf(controller)
  return disks.sort((a, b) => rank(a) - rank(b) || a.bus - b.bus || a.unit - b.unit)
}

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i

/** With or without colons; anything else is taken as none. */
function macOf(address: string): string {
  const colons = /^[0-9a-f]{12}$/i.test(address) ? (address.match(/../g) ?? []).join(':') : address
  return MAC.test(colons) ? colons.toLowerCase() : ''
}

function readNetworks(items: readonly Item[]): ApplianceNetwork[] {
  return items.filter(({ type }) => type === RESOURCE.network).map(({ element }) => ({
    network: element.textOf('Connection'), adapter: element.textOf('ResourceSubType'), mac: macOf(element.textOf('Address')),
  }))
}

function readDirectBoot(system: XmlElement, table: DiskTable): DirectBoot | undefined {
  const boot = system.first('DirectBootSection')
  if (!boot) return undefined
  const file = (attribute: string): string => (boot.attribute(attribute) === '' ? '' : fileName(table, boot.attribute(attribute)))
  return { kernelFile: file('kernelRef'), initrdFile: file('initrdRef'), commandLine: boot.textOf('CommandLine'), cpuProfile: boot.textOf('CpuProfile') }
}

function readSystem(system: XmlElement, table: DiskTable): Appliance {
  const hardware = system.first('VirtualHardwareSection')
  if (!hardware) throw new OvfError('the machine has no hardware section')
  const items = itemsOf(hardware)
  const quantity = (type: number, what: string): Item & { value: number } | undefined => {
    const item = items.find((candidate) => candidate.type === type)
    return item && { ...item, value: whole(item.element.textOf('VirtualQuantity'), what, 2 ** 40) }
  }
  const memory = quantity(RESOURCE.memory, 'memory')
  const os = system.first('OperatingSystemSection')
  const osId = os?.attribute('id') ?? ''
  const directBoot = readDirectBoot(system, table)
  return {
    name: system.textOf('Name') || system.attribute('id'),
    description: system.first('AnnotationSection')?.textOf('Annotation') ?? '',
    osId: /^\d{1,5}$/.test(osId) ? Number(osId) : 0,
    osName: os?.textOf('Description') ?? '',
    cpus: quantity(RESOURCE.cpu, 'CPUs')?.value ?? 1,
    memoryMiB: memory ? Math.floor((memory.value * unitBytes(memory.element.textOf('AllocationUnits'), 2 ** 20)) / 2 ** 20) : 0,
    disks: readDisks(items, table),
    networks: readNetworks(items),
    ...(directBoot && { directBoot }),
  }
}

/** All machines that the description has. @throws OvfError */
export function parseOvf(text: string): Appliance[] {
  let envelope: XmlElement
  try {
    envelope = parseXml(text)
  } catch (error) {
    if (error instanceof XmlError) throw new OvfError(error.message)
    throw error
  }
  if (envelope.name !== 'Envelope') throw new OvfError(`its root is '${envelope.name.slice(0, 40)}', not an OVF envelope`)
  const table: DiskTable = {
    files: byId(envelope.first('References')?.all('File') ?? [], 'id'),
    disks: byId(envelope.all('DiskSection').flatMap((section) => section.all('Disk')), 'diskId'),
  }
  const collections = envelope.all('VirtualSystemCollection')
  const systems = [...envelope.all('VirtualSystem'), ...collections.flatMap((collection) => collection.all('VirtualSystem'))]
  if (systems.length === 0) throw new OvfError('it describes no machine')
  return systems.map((system) => readSystem(system, table))
}

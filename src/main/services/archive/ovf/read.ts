/** OVF 0.9, 1.x and 2.x (DMTF DSP0243), as VirtualBox and VMware write them. */
import type { Appliance, ApplianceDisk, ApplianceNetwork, DirectBoot, DiskController, FilePacking } from '../appliance'
import { XmlError, parseXml, type XmlElement } from './xml'

export class OvfError extends Error {}

const MAX_DISKS = 64
const MAX_CHUNKS = 10_000
/** Numbers of CIM resource types. */
const RESOURCE = { cpu: 3, memory: 4, ide: 5, scsi: 6, network: 10, disk: 17, otherStorage: 20 } as const
const ITEMS = ['Item', 'StorageItem', 'EthernetPortItem']

const UNIT_NAMES: Readonly<Record<string, number>> = {
  byte: 1, bytes: 1, kilobytes: 2 ** 10, kb: 2 ** 10, megabytes: 2 ** 20, mb: 2 ** 20, gigabytes: 2 ** 30, gb: 2 ** 30, terabytes: 2 ** 40, tb: 2 ** 40,
}

/** Of a programmatic unit (DSP0004, annex C): `2^20` or `1024`. */
const FACTOR = /^(?:(2|10)\s*\^\s*(\d{1,2})|\d{1,15})$/

function factorOf(text: string): number {
  const [, base, power] = FACTOR.exec(text) ?? []
  return base === undefined ? Number(text) : Number(base) ** Number(power)
}

/** Bytes of one unit, such as `byte * 2^20` or the older `MegaBytes`. @throws OvfError */
function unitBytes(unit: string, otherwise: number): number {
  const plain = unit.trim().toLowerCase()
  if (plain === '') return otherwise
  const [base, ...factors] = plain.split('*').map((part) => part.trim())
  if (/^bytes?$/.test(base) && factors.length > 0 && factors.every((factor) => FACTOR.test(factor))) return factors.reduce((product, factor) => product * factorOf(factor), 1)
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

/** What an element is: OVF 0.9 has one name for all sections and systems, and says in `xsi:type` which each is. */
function kindOf(element: XmlElement): string {
  if (element.name !== 'Section' && element.name !== 'Content') return element.name
  return element.attribute('type').replace(/^[^:]*:/, '').replace(/_Type$/, '')
}

const sections = (parent: XmlElement, kind: string): XmlElement[] => parent.children.filter((child) => kindOf(child) === kind)

/** The one of several sizes a machine can be deployed in (DSP0243 9.8) that is taken where nobody chooses; '' where there are none. */
function configurationOf(envelope: XmlElement): string {
  const all = sections(envelope, 'DeploymentOptionSection').flatMap((section) => section.all('Configuration'))
  return (all.find((element) => ['true', '1'].includes(element.attribute('default'))) ?? all[0])?.attribute('id') ?? ''
}

/** The devices of the machine itself in one configuration, not the bounds of what it could have. */
function itemsOf(hardware: XmlElement, configuration: string): Item[] {
  const items: Item[] = []
  for (const element of hardware.children) {
    const of = element.attribute('configuration').split(/\s+/).filter(Boolean)
    if (!ITEMS.includes(element.name) || !['', 'normal'].includes(element.attribute('bound')) || (of.length > 0 && !of.includes(configuration))) continue
    const item = { element, id: element.textOf('InstanceID') || element.textOf('InstanceId'), type: whole(element.textOf('ResourceType'), 'ResourceType', 65535) }
    // An item of a configuration takes the place of the general one.
    const general = of.length === 0 ? -1 : items.findIndex(({ id }) => id === item.id)
    if (general < 0) items.push(item)
    else items[general] = item
  }
  return items
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

interface FileRef {
  readonly fileName: string
  readonly packing?: FilePacking
}

function fileOf({ files }: DiskTable, ref: string): FileRef {
  const file = files.get(ref)
  if (!file) throw new OvfError(`the file '${ref.slice(0, 40)}' is referred to and not listed`)
  const [href, compression, chunkSize, size] = ['href', 'compression', 'chunkSize', 'size'].map((name) => file.attribute(name))
  if (!['', 'identity', 'gzip'].includes(compression)) throw new OvfError(`the file '${ref}' is compressed as a whole (${compression.slice(0, 40)}), which is not supported`)
  const isGzip = compression === 'gzip'
  if (chunkSize === '') return isGzip ? { fileName: href, packing: { isGzip } } : { fileName: href }
  const bytes = whole(chunkSize, 'chunkSize')
  if (bytes === 0) throw new OvfError("chunkSize: '0' is not possible")
  const chunks = size === '' ? 'unknown' : Math.max(1, Math.ceil(whole(size, 'size') / bytes))
  if (chunks !== 'unknown' && chunks > MAX_CHUNKS) throw new OvfError(`the file '${ref.slice(0, 40)}' is split into ${chunks} chunks, which are more than are supported`)
  return { fileName: href, packing: { isGzip, chunks } }
}

/** Of a file that is there as it is. */
function plainFile(table: DiskTable, ref: string): string {
  const { fileName, packing } = fileOf(table, ref)
  if (packing) throw new OvfError(`the file '${ref.slice(0, 40)}' is compressed or split into chunks, which is supported for disks only`)
  return fileName
}

/** Bytes; 0 where the description leaves it to the disk's file, or to who deploys it (`${size}`). @throws OvfError */
function capacityOf(disk: XmlElement): number {
  const text = disk.attribute('capacity')
  if (disk.attribute('fileRef') !== '' && (text === '' || /^\$\{.*\}$/.test(text))) return 0
  return whole(text, 'capacity') * unitBytes(disk.attribute('capacityAllocationUnits'), 1)
}

function readDisk(item: Item, table: DiskTable, controllers: ReadonlyMap<string, { kind: DiskController; bus: number }>, place: number): ApplianceDisk {
  const resource = item.element.textOf('HostResource')
  const [, kind, id] = /^(?:ovf:)?\/?(disk|file)\/(.+)$/.exec(resource) ?? []
  if (kind === undefined) throw new OvfError(`the disk's resource '${resource.slice(0, 60)}' is not known`)
  const controller = controllers.get(item.element.textOf('Parent')) ?? { kind: 'sata', bus: 0 }
  const unitText = item.element.textOf('AddressOnParent')
  const where = { controller: controller.kind, bus: controller.bus, unit: unitText === '' ? place : whole(unitText, 'AddressOnParent', 65535) }
  if (kind === 'file') return { ...where, ...fileOf(table, id), capacityBytes: 0, format: '' }
  const disk = table.disks.get(id)
  if (!disk) throw new OvfError(`the disk '${id.slice(0, 40)}' is referred to and not described`)
  if (disk.attribute('parentRef') !== '') throw new OvfError(`the disk '${id}' holds only changes to another one, which is not supported`)
  const capacityBytes = capacityOf(disk)
  if (!Number.isSafeInteger(capacityBytes)) throw new OvfError(`the disk '${id}' is larger than any disk`)
  const ref = disk.attribute('fileRef')
  return { ...where, ...(ref === '' ? { fileName: '' } : fileOf(table, ref)), capacityBytes, format: disk.attribute('format') }
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
  const boot = sections(system, 'DirectBootSection').at(0)
  if (!boot) return undefined
  const file = (attribute: string): string => (boot.attribute(attribute) === '' ? '' : plainFile(table, boot.attribute(attribute)))
  return { kernelFile: file('kernelRef'), initrdFile: file('initrdRef'), commandLine: boot.textOf('CommandLine'), cpuProfile: boot.textOf('CpuProfile') }
}

function readSystem(system: XmlElement, table: DiskTable, configuration: string): Appliance {
  const hardware = sections(system, 'VirtualHardwareSection').at(0)
  if (!hardware) throw new OvfError('the machine has no hardware section')
  const items = itemsOf(hardware, configuration)
  const quantity = (type: number, what: string): Item & { value: number } | undefined => {
    const item = items.find((candidate) => candidate.type === type)
    return item && { ...item, value: whole(item.element.textOf('VirtualQuantity'), what, 2 ** 40) }
  }
  const memory = quantity(RESOURCE.memory, 'memory')
  const os = sections(system, 'OperatingSystemSection').at(0)
  const osId = os?.attribute('id') ?? ''
  const directBoot = readDirectBoot(system, table)
  return {
    name: system.textOf('Name') || system.attribute('id'),
    description: sections(system, 'AnnotationSection').at(0)?.textOf('Annotation') ?? '',
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
    disks: byId(sections(envelope, 'DiskSection').flatMap((section) => section.all('Disk')), 'diskId'),
  }
  const collections = sections(envelope, 'VirtualSystemCollection')
  const systems = [envelope, ...collections].flatMap((parent) => sections(parent, 'VirtualSystem'))
  if (systems.length === 0) throw new OvfError('it describes no machine')
  const configuration = configurationOf(envelope)
  return systems.map((system) => readSystem(system, table, configuration))
}

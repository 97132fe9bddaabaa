/**
 * OVF 1.x (DMTF DSP0243). Devices are those that VirtualBox and VMware both take; the fields of an item are in the alphabetical
 * order that the schema demands.
 */
import type { Appliance, DiskController } from '../appliance'
import { escapeXml } from './xml'

/** Of our section for machines that boot without firmware. */
const OWN_NAMESPACE = 'urn:nestbox:ovf:1'
export const STREAM_VMDK = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized'
const CIM = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2'
const OVF = 'http://schemas.dmtf.org/ovf/envelope/1'

/** A file of the package. */
export interface PackedFile {
  readonly name: string
  readonly sizeBytes: number
}

const CONTROLLERS: Readonly<Record<DiskController, { readonly type: number; readonly subtype: string; readonly name: string }>> = {
  ide: { type: 5, subtype: 'PIIX4', name: 'IDE controller' },
  sata: { type: 20, subtype: 'vmware.sata.ahci', name: 'SATA controller' },
  scsi: { type: 6, subtype: 'lsilogic', name: 'SCSI controller' },
  nvme: { type: 20, subtype: 'vmware.nvme.controller', name: 'NVMe controller' },
  // The others know no virtio disk; SATA is what they all have.
  virtio: { type: 20, subtype: 'vmware.sata.ahci', name: 'SATA controller' },
}

type Fields = Readonly<Record<string, string | number>>

function item(fields: Fields): string {
  const lines = Object.keys(fields).sort().map((key) => `        <rasd:${key}>${escapeXml(String(fields[key]))}</rasd:${key}>`)
  return ['      <Item>', ...lines, '      </Item>'].join('\n')
}

function hardware(appliance: Appliance, systemId: string): string {
  const items: Fields[] = [
    { ElementName: `${appliance.cpus} virtual CPU`, InstanceID: 1, ResourceType: 3, VirtualQuantity: appliance.cpus, AllocationUnits: 'hertz * 10^6', Description: 'Number of virtual CPUs' },
    { ElementName: `${appliance.memoryMiB} MB of memory`, InstanceID: 2, ResourceType: 4, VirtualQuantity: appliance.memoryMiB, AllocationUnits: 'byte * 2^20', Description: 'Memory size' },
  ]
  const controllers = new Map<string, number>()
  for (const { controller, bus } of appliance.disks) {
    const key = `${CONTROLLERS[controller].name} ${bus}`
    if (controllers.has(key)) continue
    const id = items.length + 1
    controllers.set(key, id)
    const { type, subtype } = CONTROLLERS[controller]
    items.push({ Address: bus, Description: CONTROLLERS[controller].name, ElementName: key, InstanceID: id, ResourceSubType: subtype, ResourceType: type })
  }
  appliance.disks.forEach(({ controller, bus, unit }, i) => {
    const parent = controllers.get(`${CONTROLLERS[controller].name} ${bus}`) ?? 0
    items.push({ AddressOnParent: unit, Description: 'Hard disk', ElementName: `Hard disk ${i + 1}`, HostResource: `ovf:/disk/vmdisk${i + 1}`, InstanceID: items.length + 1, Parent: parent, ResourceType: 17 })
  })
  appliance.networks.forEach(({ network, adapter, mac }, i) => items.push({
    ...(mac === '' ? {} : { Address: mac }), AutomaticAllocation: 'true', Connection: network, ElementName: `Network adapter ${i + 1}`, InstanceID: items.length + 1,
    ResourceSubType: adapter || 'E1000', ResourceType: 10,
  }))
  return `    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>${escapeXml(systemId)}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-10</vssd:VirtualSystemType>
      </System>
${items.map(item).join('\n')}
    </VirtualHardwareSection>`
}

function directBoot({ directBoot: boot }: Appliance, fileId: (name: string) => string): string[] {
  if (!boot) return []
  const initrd = boot.initrdFile === '' ? '' : ` nestbox:initrdRef="${escapeXml(fileId(boot.initrdFile))}"`
  return [`    <nestbox:DirectBootSection ovf:required="false" nestbox:kernelRef="${escapeXml(fileId(boot.kernelFile))}"${initrd}>
      <Info>How Nestbox starts the machine</Info>
      <nestbox:CommandLine>${escapeXml(boot.commandLine)}</nestbox:CommandLine>
      <nestbox:CpuProfile>${escapeXml(boot.cpuProfile)}</nestbox:CpuProfile>
    </nestbox:DirectBootSection>`]
}

/**
 * The description of one machine.
 * @param files all files of the package but the description: those of the disks, and what boots the machine
 */
export function writeOvf(appliance: Appliance, files: readonly PackedFile[]): string {
  const fileId = (name: string): string => `file${files.findIndex((file) => file.name === name) + 1}`
  const references = files.map(({ name, sizeBytes }) => `    <File ovf:href="${escapeXml(name)}" ovf:id="${fileId(name)}" ovf:size="${sizeBytes}"/>`)
  const disks = appliance.disks.map(({ fileName, capacityBytes }, i) =>
    `    <Disk ovf:capacity="${capacityBytes}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk${i + 1}" ovf:fileRef="${fileId(fileName)}" ovf:format="${STREAM_VMDK}"/>`)
  const networks = [...new Set(appliance.networks.map(({ network }) => network))]
    .map((name) => `    <Network ovf:name="${escapeXml(name)}">\n      <Description>${escapeXml(name)}</Description>\n    </Network>`)
  const annotation = appliance.description === '' ? [] : [
    `    <AnnotationSection>\n      <Info>Notes</Info>\n      <Annotation>${escapeXml(appliance.description)}</Annotation>\n    </AnnotationSection>`,
  ]
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="${OVF}" xmlns:ovf="${OVF}" xmlns:rasd="${CIM}/CIM_ResourceAllocationSettingData" xmlns:vssd="${CIM}/CIM_VirtualSystemSettingData" xmlns:nestbox="${OWN_NAMESPACE}">`,
    ...(references.length > 0 ? ['  <References>', ...references, '  </References>'] : ['  <References/>']),
    ...(disks.length > 0 ? ['  <DiskSection>', '    <Info>Virtual disks</Info>', ...disks, '  </DiskSection>'] : []),
    ...(networks.length > 0 ? ['  <NetworkSection>', '    <Info>Logical networks</Info>', ...networks, '  </NetworkSection>'] : []),
    `  <VirtualSystem ovf:id="${escapeXml(appliance.name)}">`,
    '    <Info>A virtual machine</Info>',
    `    <Name>${escapeXml(appliance.name)}</Name>`,
    ...annotation,
    `    <OperatingSystemSection ovf:id="${appliance.osId}">\n      <Info>The guest's operating system</Info>\n      <Description>${escapeXml(appliance.osName)}</Description>\n    </OperatingSystemSection>`,
    hardware(appliance, appliance.name),
    ...directBoot(appliance, fileId),
    '  </VirtualSystem>',
    '</Envelope>',
    '',
  ].join('\n')
}

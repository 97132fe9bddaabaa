import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ovfProblems } from '../../../../tests/fixtures/ovf-rules'
import type { DiskSource } from '../../host/disks/formats/common/write'
import type { Progress } from '../types'
import type { Appliance } from './appliance'
import { exportOva, stemOf } from './ova-export'
import { importOva } from './ova-import'

const MIB = 1 << 20
let dir: string
beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'nestbox-ova-')) })
afterEach(() => rm(dir, { recursive: true, force: true }))

const progress = (signal = new AbortController().signal): Progress & { readonly seen: number[] } => {
  const seen: number[] = []
  return { signal, seen, report: (fraction) => { if (fraction !== undefined) seen.push(fraction) } }
}

function diskOf(bytes: Uint8Array): DiskSource {
  return { sizeBytes: bytes.length, read: (offset, target) => Promise.resolve(void target.set(bytes.subarray(offset, offset + target.length))) }
}

function contents(seed: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let i = 0; i < 70_000; i++) bytes[(i * 7919 + seed) % size] = (i * 31 + seed) & 0xff
  return bytes
}

const disk = (fileName: string, unit: number): Appliance['disks'][number] => ({ fileName, capacityBytes: 0, format: '', controller: 'sata', bus: 0, unit })
const APPLIANCE: Appliance = {
  name: 'Büro "1"', description: 'notes', osId: 101, osName: 'Linux', cpus: 1, memoryMiB: 512, disks: [disk('disk1.vmdk', 0), disk('disk2.vmdk', 1)], networks: [],
  directBoot: { kernelFile: 'kernel', initrdFile: '', commandLine: 'console=ttyS0', cpuProfile: 'nestbox64' },
}
const DISKS = [contents(1, 9 * MIB + 512), contents(2, 3 * MIB)]

async function exported(target = join(dir, 'out.ova')): Promise<string> {
  const kernel = join(dir, 'vmlinuz')
  await writeFile(kernel, 'a kernel')
  await exportOva(APPLIANCE, DISKS.map(diskOf), [{ name: 'kernel', path: kernel }], target, progress())
  return target
}

async function folder(): Promise<string> {
  const path = join(dir, 'into')
  await rm(path, { recursive: true, force: true })
  await mkdir(path)
  return path
}

/** A package of these members, as tar-stream writes them. */
async function tarOf(members: readonly { name: string; data?: string | Buffer; type?: 'symlink' | 'link' | 'directory' | 'fifo'; linkname?: string }[]): Promise<string> {
  const tar = pack()
  for (const { name, data = '', type, linkname } of members) tar.entry({ name, ...(type && { type }), ...(linkname && { linkname }) }, data)
  tar.finalize()
  const parts: Buffer[] = []
  for await (const part of tar) parts.push(part as Buffer)
  const path = join(dir, 'made.ova')
  await writeFile(path, Buffer.concat(parts))
  return path
}

const ovf = (file: string): string => `<Envelope><References><File id="f" href="${file}"/></References><DiskSection><Disk diskId="d" fileRef="f" capacity="1048576"/></DiskSection>
<VirtualSystem id="x"><VirtualHardwareSection><Item><InstanceID>1</InstanceID><ResourceType>17</ResourceType><HostResource>/disk/d</HostResource></Item></VirtualHardwareSection></VirtualSystem></Envelope>`

describe('OVA packages', () => {
  it('that we write are what tar, sha256sum and qemu-img take, and read back equal', async () => {
    const path = await exported()
    expect(await readdir(dir)).toEqual(['out.ova', 'vmlinuz'])
    const names = execFileSync('tar', ['-tf', path], { encoding: 'utf8' }).trim().split('\n')
    expect(names).toEqual(['Bu-ro-1.ovf', 'Bu-ro-1.mf', 'disk1.vmdk', 'disk2.vmdk', 'kernel'])
    const out = join(dir, 'untarred')
    await mkdir(out)
    execFileSync('tar', ['-xf', path, '-C', out])
    expect(ovfProblems(await readFile(join(out, 'Bu-ro-1.ovf'), 'utf8'))).toEqual([])
    const sums = (await readFile(join(out, 'Bu-ro-1.mf'), 'utf8')).replace(/^SHA256\((.*)\)= (\w+)$/gm, '$2  $1')
    expect(execFileSync('sha256sum', ['-c', '--strict'], { cwd: out, input: sums, encoding: 'utf8' }).match(/OK$/gm)).toHaveLength(4)
    for (const [i, bytes] of DISKS.entries()) {
      await writeFile(join(dir, 'expected.raw'), bytes)
      expect(execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', join(dir, 'expected.raw'), join(out, `disk${i + 1}.vmdk`)], { encoding: 'utf8' })).toContain('identical')
    }
    const seen = progress()
    const imported = await importOva(path, await folder(), seen)
    expect(imported.warnings).toEqual([])
    expect(imported.appliance).toMatchObject({ name: APPLIANCE.name, description: 'notes', memoryMiB: 512, directBoot: { commandLine: 'console=ttyS0' } })
    for (const [i, bytes] of DISKS.entries()) expect(Buffer.compare(await readFile(imported.disks[i].path), bytes)).toBe(0)
    expect(await readFile(imported.kernelPath ?? '', 'utf8')).toBe('a kernel')
    expect((await readdir(join(dir, 'into'))).sort()).toEqual(['disk0.img', 'disk1.img', 'kernel'])
    expect(seen.seen).toEqual([...seen.seen].sort((a, b) => a - b))
    // The description with its files beside it is as good.
    const beside = await importOva(join(out, 'Bu-ro-1.ovf'), await folder(), progress())
    expect(Buffer.compare(await readFile(beside.disks[1].path), DISKS[1])).toBe(0)
    expect(beside.warnings).toEqual([])
  })

  it('with the manifest at the end, SHA-1, or none', async () => {
    const vmdk = join(dir, 'd.vmdk')
    execFileSync('qemu-img', ['create', '-q', '-f', 'vmdk', '-o', 'subformat=streamOptimized', vmdk, '1M'])
    const data = await readFile(vmdk)
    const sha1 = (bytes: string | Buffer): string => createHash('sha1').update(bytes).digest('hex')
    const description = ovf('d.vmdk')
    const manifest = `SHA1 (x.ovf) = ${sha1(description)}\r\nSHA1 (d.vmdk) = ${sha1(data).toUpperCase()}\r\n`
    const path = await tarOf([{ name: 'x.ovf', data: description }, { name: 'd.vmdk', data }, { name: 'x.mf', data: manifest }])
    expect(await importOva(path, await folder(), progress())).toMatchObject({ warnings: [], disks: [{ sizeBytes: MIB }] })
    const bare = await tarOf([{ name: 'x.ovf', data: description }, { name: 'd.vmdk', data }])
    expect((await importOva(bare, await folder(), progress())).warnings).toEqual([{ key: 'import.noManifest' }])
  })

  describe('with a disk that is compressed or split', () => {
    const bytes = contents(5, 2 * MIB)
    const CHUNK = 20_000
    let vmdk: Buffer
    beforeEach(async () => {
      await writeFile(join(dir, 'd.raw'), bytes)
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', join(dir, 'd.raw'), join(dir, 'd.vmdk')])
      vmdk = await readFile(join(dir, 'd.vmdk'))
      await rm(join(dir, 'd.vmdk'))
    })
    const described = (attributes: string): string => ovf('d.vmdk').replace('href=', `${attributes} href=`).replace('1048576', '2 * 1').replace('capacity="2 * 1"', 'capacity="2" capacityAllocationUnits="byte * 2^20"')
    const chunked = (data: Buffer): { name: string; data: Buffer }[] =>
      Array.from({ length: Math.ceil(data.length / CHUNK) }, (_, i) => ({ name: `d.vmdk.${String(i).padStart(9, '0')}`, data: data.subarray(i * CHUNK, (i + 1) * CHUNK) }))
    const sha512 = (data: string | Buffer): string => createHash('sha512').update(data).digest('hex')

    it.each<[string, (data: Buffer) => { attributes: string; files: { name: string; data: Buffer }[] }]>([
      ['gzip', (data) => ({ attributes: 'compression="gzip"', files: [{ name: 'd.vmdk', data: gzipSync(data) }] })],
      ['chunks', (data) => ({ attributes: `size="${data.length}" chunkSize="${CHUNK}"`, files: chunked(data) })],
      ['chunks, nobody says how many', (data) => ({ attributes: `chunkSize="${CHUNK}"`, files: chunked(data) })],
      ['both', (data) => ({ attributes: `compression="gzip" chunkSize="${CHUNK}"`, files: chunked(gzipSync(data)) })],
    ])('%s: it reads back equal, from an archive and from files', async (_what, pack) => {
      const { attributes, files } = pack(vmdk)
      const description = described(attributes)
      const manifest = [{ name: 'x.ovf', data: description }, ...files].map(({ name, data }) => `SHA512(${name})= ${sha512(data)}\n`).join('')
      const members = [{ name: 'x.ovf', data: description }, { name: 'x.mf', data: manifest }, { name: 'x.cert', data: 'a signature' }, ...files]
      await mkdir(join(dir, 'beside'))
      for (const { name, data } of members) await writeFile(join(dir, 'beside', name), data)
      for (const path of [await tarOf(members), join(dir, 'beside', 'x.ovf')]) {
        const imported = await importOva(path, await folder(), progress())
        expect(imported.warnings).toEqual([])
        expect(Buffer.compare(await readFile(imported.disks[0].path), bytes)).toBe(0)
        expect(await readdir(join(dir, 'into'))).toEqual(['disk0.img'])
      }
    })

    it('is refused where a part is missing, damaged, or does not fit its checksum', async () => {
      const files = chunked(vmdk)
      const attributes = `size="${vmdk.length}" chunkSize="${CHUNK}"`
      const attempt = async (said: string, members: { name: string; data: Buffer | string }[]): Promise<unknown> =>
        importOva(await tarOf([{ name: 'x.ovf', data: described(said) }, ...members]), await folder(), progress()).catch((error: unknown) => error)
      expect(files.length).toBeGreaterThan(2)
      expect(await attempt(attributes, files.slice(0, -1))).toMatchObject({ code: 'bad-archive', message: expect.stringContaining(files.at(-1)!.name) as string })
      expect(await attempt(`chunkSize="${CHUNK}"`, files.filter((_, i) => i !== 1))).toMatchObject({ code: 'bad-archive', message: expect.stringContaining(files[1].name) as string })
      expect(await attempt(attributes, [{ name: 'x.mf', data: `SHA1(${files[1].name})= ${'0'.repeat(40)}\n` }, ...files])).toMatchObject({ code: 'checksum-mismatch' })
      expect(await attempt('compression="gzip"', [{ name: 'd.vmdk', data: vmdk }])).toMatchObject({ code: 'bad-archive', message: expect.stringContaining('cannot be decompressed') as string })
      const cut = gzipSync(vmdk)
      expect(await attempt('compression="gzip"', [{ name: 'd.vmdk', data: cut.subarray(0, cut.length >> 1) }])).toMatchObject({ code: 'bad-archive', message: expect.stringContaining('cannot be decompressed') as string })
      expect(await readdir(join(dir, 'into'))).toEqual([])
    })
  })

  it.each<[string, Parameters<typeof tarOf>[0], string, RegExp]>([
    ['a path upwards', [{ name: 'x.ovf', data: ovf('d') }, { name: '../d', data: 'x' }], 'bad-archive', /refused/],
    ['an absolute path', [{ name: '/tmp/x.ovf', data: ovf('d') }], 'bad-archive', /absolute/],
    ['a folder in a name', [{ name: 'x.ovf', data: ovf('d') }, { name: 'a/d', data: 'x' }], 'bad-archive', /folder/],
    ['a symbolic link', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', type: 'symlink', linkname: '/etc/passwd' }], 'bad-archive', /not a file but a symlink/],
    ['a hard link', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', type: 'link', linkname: 'x.ovf' }], 'bad-archive', /not a file but a link/],
    ['a folder', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', type: 'directory' }], 'bad-archive', /directory/],
    ['a pipe', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', type: 'fifo' }], 'bad-archive', /fifo/],
    ['a missing file', [{ name: 'x.ovf', data: ovf('d') }], 'bad-archive', /'d' is missing/],
    ['a name twice', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', data: 'x' }, { name: 'D', data: 'y' }], 'bad-archive', /twice/],
    ['a description that is not first', [{ name: 'd', data: 'x' }, { name: 'x.ovf', data: ovf('d') }], 'bad-archive', /begins with/],
    ['a description that names a file elsewhere', [{ name: 'x.ovf', data: ovf('../../etc/passwd') }], 'bad-archive', /refused/],
    ['a description that names a file of the network', [{ name: 'x.ovf', data: ovf('http://example.org/d.vmdk') }], 'bad-archive', /http:.*refused/],
    ['a description of two machines', [{ name: 'x.ovf', data: ovf('d').replace(/<VirtualSystem [^]*<\/VirtualSystem>/, '$&$&') }], 'unsupported', /2 machines/],
    ['a description that is not UTF-8', [{ name: 'x.ovf', data: Buffer.from([0x3c, 0xff, 0xfe, 0x3e]) }], 'bad-archive', /UTF-8/],
    ['a description that is no OVF', [{ name: 'x.ovf', data: '<html/>' }], 'bad-archive', /not an OVF/],
    ['an endless description', [{ name: 'x.ovf', data: Buffer.alloc(5 * MIB, ' ') }], 'bad-archive', /too long/],
    ['a disk of an unknown format', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', data: Buffer.alloc(4096, 'QFI') }], 'unsupported', /format/],
    ['a disk that names a file of this computer', [{ name: 'x.ovf', data: ovf('d') }, { name: 'd', data: '# Disk DescriptorFile\nRW 1 FLAT "/etc/passwd" 0\n' }], 'bad-disk', /plain file name/],
    ['a manifest that does not match', [{ name: 'x.ovf', data: ovf('d') }, { name: 'x.mf', data: `SHA256(d)= ${'0'.repeat(64)}\n` }, { name: 'd', data: 'x' }], 'checksum-mismatch', /'d' does not match/],
    ['a manifest of nonsense', [{ name: 'x.ovf', data: ovf('d') }, { name: 'x.mf', data: 'nonsense\n' }], 'bad-archive', /manifest/],
    ['a manifest that lists a missing file', [{ name: 'x.ovf', data: ovf('d') }, { name: 'x.mf', data: `SHA256(e)= ${'0'.repeat(64)}\n` }, { name: 'd', data: 'x' }], 'bad-archive', /'e' of the manifest is missing/],
  ])('with %s are refused', async (_what, members, code, why) => {
    const path = await tarOf(members)
    await writeFile(join(dir, 'outside'), 'untouched')
    await expect(importOva(path, await folder(), progress())).rejects.toMatchObject({ name: 'ServiceError', code, message: expect.stringMatching(why) })
    expect(await readdir(join(dir, 'into'))).toEqual([])
    expect((await readdir(dir)).sort()).toEqual(['into', 'made.ova', 'outside'])
  })

  it('that are cut off, or no archive, are refused', async () => {
    const bytes = await readFile(await exported())
    for (const length of [0, 100, 512, 700, 5000, bytes.length >> 1]) {
      const path = join(dir, 'cut.ova')
      await writeFile(path, bytes.subarray(0, length))
      await expect(importOva(path, await folder(), progress()), `${length}`).rejects.toMatchObject({ name: 'ServiceError', code: 'bad-archive' })
    }
    await expect(importOva(join(dir, 'missing.ova'), await folder(), progress())).rejects.toMatchObject({ code: 'file-missing' })
    await symlink('/dev/zero', join(dir, 'zero.ova'))
    await expect(importOva(join(dir, 'zero.ova'), await folder(), progress())).rejects.toMatchObject({ code: 'bad-archive' })
  })

  it('leave nothing when they are cancelled', async () => {
    const path = await exported()
    for (const after of [0, 0.2, 0.7]) {
      const abort = new AbortController()
      const stop = (fraction: number | undefined): void => { if ((fraction ?? 0) >= after) abort.abort() }
      await expect(importOva(path, await folder(), { signal: abort.signal, report: stop })).rejects.toMatchObject({ name: 'AbortError' })
      expect(existsSync(join(dir, 'into', '.unpacked'))).toBe(false)
      const exporting = new AbortController()
      const target = join(dir, 'cancelled.ova')
      const halt = (fraction: number | undefined): void => { if ((fraction ?? 0) >= after) exporting.abort() }
      await expect(exportOva({ ...APPLIANCE, directBoot: undefined }, DISKS.map(diskOf), [], target, { signal: exporting.signal, report: halt })).rejects.toMatchObject({ name: 'AbortError' })
      expect((await readdir(dir)).filter((name) => name.startsWith('cancelled'))).toEqual([])
    }
  })

  it('replace a file only when they are complete', async () => {
    const target = join(dir, 'old.ova')
    await writeFile(target, 'old')
    const broken: DiskSource = { sizeBytes: MIB, read: () => Promise.reject(new Error('the disk broke')) }
    await expect(exportOva({ ...APPLIANCE, disks: [disk('d.vmdk', 0)] }, [broken], [], target, progress())).rejects.toThrow('the disk broke')
    expect(await readFile(target, 'utf8')).toBe('old')
    await exported(target)
    expect((await readFile(target)).length).toBeGreaterThan(1000)
  })

  it('are named after the machine', () => {
    expect(['Debian 12', '../x', '日本', 'a/b\\c', 'x'.repeat(100)].map(stemOf)).toEqual(['Debian-12', 'x', 'machine', 'a-b-c', 'x'.repeat(64)])
  })
})

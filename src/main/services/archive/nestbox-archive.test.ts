import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Progress } from '../types'
import { exportArchive, importArchive } from './nestbox-archive'

const MIB = 1 << 20
let dir: string
beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'nestbox-archive-')) })
afterEach(() => rm(dir, { recursive: true, force: true }))

const progress = (signal = new AbortController().signal, report: Progress['report'] = () => undefined): Progress => ({ signal, report })

async function into(): Promise<string> {
  const path = join(dir, 'into')
  await rm(path, { recursive: true, force: true })
  await mkdir(path)
  return path
}

/** 100 MiB with data at the start, across a border of parts, and at the end. */
async function sparseDisk(): Promise<string> {
  const path = join(dir, 'disk.img')
  const file = await open(path, 'w')
  await file.truncate(100 * MIB + 512)
  for (const at of [0, 16 * MIB - 3, 70 * MIB + 9, 100 * MIB]) await file.write(Buffer.alloc(512, `data at ${at} `), 0, 512, at)
  await file.close()
  return path
}

async function made(target = join(dir, 'out.nestbox')): Promise<string> {
  await exportArchive('Test', [
    { name: 'machine.json', data: Buffer.from('{"a":1}') }, { name: 'empty', data: new Uint8Array(0) }, { name: 'disks/disk0.img', path: await sparseDisk() },
  ], target, progress())
  return target
}

const sha = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex')
const headOf = (files: unknown, more: object = {}): string =>
  JSON.stringify({ format: 'nestbox-archive', version: 1, createdAt: '2026', nestbox: '0', name: 'x', files, ...more })

type Members = readonly (readonly [string, string | Buffer])[]

/** @param sums the true ones unless given; null for none */
async function tarOf(members: Members, sums?: string | null): Promise<string> {
  const tar = pack()
  for (const [name, data] of members) tar.entry({ name }, data)
  if (sums !== null) tar.entry({ name: 'SHA256SUMS' }, sums ?? members.map(([name, data]) => `${sha(data)}  ${name}\n`).join(''))
  tar.finalize()
  const parts: Buffer[] = []
  for await (const part of tar) parts.push(part as Buffer)
  const path = join(dir, 'made.nestbox')
  await writeFile(path, Buffer.concat(parts))
  return path
}

describe('our archive', () => {
  it('comes back the same, holes included; tar and sha256sum take it', async () => {
    const path = await made()
    expect((await stat(path)).size).toBeLessThan(400_000)
    const folder = await into()
    const fractions: number[] = []
    const head = await importArchive(path, folder, progress(undefined, (fraction) => fractions.push(fraction ?? -1)))
    expect(head).toMatchObject({ name: 'Test', files: [{ name: 'machine.json', sizeBytes: 7 }, { name: 'empty', sizeBytes: 0 }, { name: 'disks/disk0.img' }] })
    expect(Buffer.compare(await readFile(join(folder, 'disks/disk0.img')), await readFile(join(dir, 'disk.img')))).toBe(0)
    expect((await stat(join(folder, 'disks/disk0.img'))).blocks * 512).toBeLessThan(2 * MIB)
    expect(await readFile(join(folder, 'machine.json'), 'utf8')).toBe('{"a":1}')
    expect(fractions.length).toBeGreaterThan(3)
    const out = join(dir, 'untarred')
    await mkdir(out)
    execFileSync('tar', ['-xf', path, '-C', out])
    execFileSync('sha256sum', ['--quiet', '-c', 'SHA256SUMS'], { cwd: out })
    expect(execFileSync('zcat', [join(out, 'files/machine.json/0000000.gz')], { encoding: 'utf8' })).toBe('{"a":1}')
  })

  const part = (data: string): Buffer => gzipSync(data)
  const FILE = [{ name: 'a', sizeBytes: 3 }]
  const GOOD: Members = [['nestbox.json', headOf(FILE)], ['files/a/0000000.gz', part('abc')]]

  it('made by hand is taken', async () => {
    const folder = await into()
    await importArchive(await tarOf(GOOD), folder, progress())
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('abc')
  })

  it.each<[string, Members, string | null | undefined, string, RegExp]>([
    ['without checksums', GOOD, null, 'bad-archive', /cut off/],
    ['with a wrong checksum', GOOD, `${sha(headOf(FILE))}  nestbox.json\n${sha('x')}  files/a/0000000.gz\n`, 'checksum-mismatch', /does not match/],
    ['with a part that has no checksum', GOOD, `${sha(headOf(FILE))}  nestbox.json\n`, 'bad-archive', /no checksum/],
    ['with a part missing', GOOD.slice(0, 1), `${sha(headOf(FILE))}  nestbox.json\n${sha(part('abc'))}  files/a/0000000.gz\n`, 'bad-archive', /missing/],
    ['that begins otherwise', GOOD.slice(1), undefined, 'bad-archive', /begins with/],
    ['of a newer form', [['nestbox.json', headOf(FILE, { version: 2 })]], undefined, 'unsupported', /newer/],
    ['of another kind', [['nestbox.json', headOf(FILE, { format: 'x' })]], undefined, 'bad-archive', /format/],
    ['with a head of nonsense', [['nestbox.json', 'nonsense']], undefined, 'bad-archive', /JSON/],
    ['with a file elsewhere', [['nestbox.json', headOf([{ name: '../a', sizeBytes: 3 }])]], undefined, 'bad-archive', /refused/],
    ['with an absolute file', [['nestbox.json', headOf([{ name: '/tmp/a', sizeBytes: 3 }])]], undefined, 'bad-archive', /absolute/],
    ['with a file twice', [['nestbox.json', headOf([...FILE, ...FILE])]], undefined, 'bad-archive', /twice/],
    ['with a file within a file', [['nestbox.json', headOf([...FILE, { name: 'a/b', sizeBytes: 3 }])]], undefined, 'bad-archive', /./],
    ['with an absurd size', [['nestbox.json', headOf([{ name: 'a', sizeBytes: 1e17 }])]], undefined, 'bad-archive', /sizeBytes/],
    ['with a size below zero', [['nestbox.json', headOf([{ name: 'a', sizeBytes: -1 }])]], undefined, 'bad-archive', /sizeBytes/],
    ['with a part that is not listed', [GOOD[0], ['files/b/0000000.gz', part('abc')]], undefined, 'bad-archive', /does not belong/],
    ['with something else in it', [GOOD[0], ['other', 'x']], undefined, 'bad-archive', /does not belong/],
    ['with a part past the end', [GOOD[0], ['files/a/0000001.gz', part('abc')]], undefined, 'bad-archive', /out of its place/],
    ['with a part that is longer than its file', [GOOD[0], ['files/a/0000000.gz', gzipSync(Buffer.alloc(64 * MIB))]], undefined, 'bad-archive', /cannot be decompressed/],
    ['with a part that is shorter than its file', [GOOD[0], ['files/a/0000000.gz', part('ab')]], undefined, 'bad-archive', /2 bytes, not 3/],
    ['with a part that is not compressed', [GOOD[0], ['files/a/0000000.gz', 'abc']], undefined, 'bad-archive', /cannot be decompressed/],
  ])('%s is refused', async (_what, members, sums, code, why) => {
    await expect(importArchive(await tarOf(members, sums), await into(), progress())).rejects.toMatchObject({ name: 'ServiceError', code, message: expect.stringMatching(why) })
  })

  it('cut off anywhere is refused', async () => {
    const bytes = await readFile(await made())
    for (let i = 0; i < 12; i++) {
      await writeFile(join(dir, 'cut'), bytes.subarray(0, Math.floor((bytes.length - 1100) * (i / 12))))
      await expect(importArchive(join(dir, 'cut'), await into(), progress())).rejects.toMatchObject({ code: 'bad-archive' })
    }
  })

  it('leaves nothing when making it is cancelled or fails', async () => {
    const target = join(dir, 'out.nestbox')
    await writeFile(target, 'old')
    const files = [{ name: 'disk', path: await sparseDisk() }]
    const abort = new AbortController()
    await expect(exportArchive('x', files, target, progress(abort.signal, () => abort.abort()))).rejects.toMatchObject({ name: 'AbortError' })
    await expect(exportArchive('x', [{ name: 'a', path: join(dir, 'missing') }], target, progress())).rejects.toThrow()
    await expect(exportArchive('x', files, join(dir, 'no', 'folder.nestbox'), progress())).rejects.toMatchObject({ name: 'ServiceError' })
    await expect(exportArchive('x', [{ name: '../up', data: Buffer.from('x') }], target, progress())).rejects.toMatchObject({ code: 'unsupported' })
    expect(await readFile(target, 'utf8')).toBe('old')
    expect((await readdir(dir)).sort()).toEqual(['disk.img', 'out.nestbox'])
    const unpacking = new AbortController()
    await expect(importArchive(await made(), await into(), progress(unpacking.signal, () => unpacking.abort()))).rejects.toMatchObject({ name: 'AbortError' })
  })
})

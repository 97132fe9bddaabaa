import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { convertDisk } from './convert'
import { compactDisk } from './compact'
import { Holes } from './holes'
import { openDisk } from './open'
import { createQcow2 } from './qcow2/create'

const MIB = 1 << 20
const TIB = 2 ** 40
const dir = mkdtempSync(join(tmpdir(), 'nestbox-holes-'))
const at = (name: string): string => join(dir, name)
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** A file of holes with pieces of 64 KiB. */
function sparse(name: string, bytes: number, places: readonly number[]): string {
  writeFileSync(at(name), '')
  truncateSync(at(name), bytes)
  const file = openSync(at(name), 'r+')
  for (const place of places) writeSync(file, Buffer.alloc(65_536, 1 + place % 251), 0, 65_536, place)
  closeSync(file)
  return at(name)
}

async function allOf(path: string, sizeBytes: number): Promise<[number, number, boolean][]> {
  const holes = new Holes(path)
  const found: [number, number, boolean][] = []
  for (let offset = 0; offset < sizeBytes;) {
    const { length, zero } = await holes.extent(offset, sizeBytes - offset)
    found.push([offset, length, zero])
    offset += length
  }
  return found
}

describe('holes of a file', () => {
  it('are found where they are, from any offset', async () => {
    const path = sparse('plain', 8 * MIB, [MIB, MIB + 65_536, 4 * MIB])
    expect(await allOf(path, 8 * MIB)).toEqual([[0, MIB, true], [MIB, 131_072, false], [MIB + 131_072, 3 * MIB - 131_072, true], [4 * MIB, 65_536, false], [4 * MIB + 65_536, 4 * MIB - 65_536, true]])
    const holes = new Holes(path)
    expect(await holes.extent(512, 1024)).toEqual({ length: 1024, zero: true })
    expect(await holes.extent(MIB + 512, 1024)).toEqual({ length: 1024, zero: false })
    expect(await holes.extent(MIB - 512, 1024)).toEqual({ length: 512, zero: true })
  })

  it.each(['-rf', 'a b\nc', 'é'.repeat(120), '*'])('of a file called %j, and through a link', async (name) => {
    const path = sparse(name, 4 * MIB, [2 * MIB])
    symlinkSync(path, at('link'))
    for (const each of [path, at('link')]) expect((await allOf(each, 4 * MIB)).map(([, , zero]) => zero)).toEqual([true, false, true])
    rmSync(at('link'))
  })

  it('are all of it, or may be none', async () => {
    expect(await allOf(sparse('nothing', 3 * MIB, []), 3 * MIB)).toEqual([[0, 3 * MIB, true]])
    writeFileSync(at('full'), Buffer.alloc(2 * MIB, 1))
    expect(await allOf(at('full'), 2 * MIB)).toEqual([[0, 2 * MIB, false]])
    expect(await allOf(at('none there'), 512)).toEqual([[0, 512, false]])
  })

  it('are many', async () => {
    const places = Array.from({ length: 3000 }, (_, i) => 131_072 * i)
    const found = await allOf(sparse('comb', 400 * MIB, places), 400 * MIB)
    expect(found.filter(([, , zero]) => !zero).map(([offset]) => offset)).toEqual(places)
  })
})

/** Reading the holes would take hours. */
describe('disks that are nearly all holes', () => {
  const places = [3 * MIB, TIB + 12_345 * 65_536, 2 * TIB - 65_536]

  it('are copied and compacted at once', async () => {
    const raw = sparse('huge.raw', 2 * TIB, places)
    await convertDisk({ path: raw, format: 'raw' }, at('huge.qcow2'), { format: 'qcow2' })
    await compactDisk(raw, 'raw')
    const disks = [await openDisk(raw, true, 'raw'), await openDisk(at('huge.qcow2'), true)]
    for (const disk of disks) {
      for (const place of [...places, MIB, TIB]) {
        const bytes = Buffer.alloc(65_536)
        await disk.read(place, bytes)
        expect(bytes.equals(Buffer.alloc(65_536, places.includes(place) ? 1 + place % 251 : 0))).toBe(true)
      }
      await disk.close()
    }
  })

  it('also where they lie under another', async () => {
    const base = sparse('base.raw', TIB, [5 * MIB, 9 * MIB])
    await createQcow2(at('over.qcow2'), { sizeBytes: TIB + 64 * MIB, backing: { path: base, format: 'raw' } })
    execFileSync('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 9M 64k', '-c', `write -P 8 ${TIB + MIB} 64k`, '-c', 'write -z 5M 32k', at('over.qcow2')], { stdio: 'ignore' })
    await convertDisk({ path: at('over.qcow2') }, at('whole.qcow2'), { format: 'qcow2' })
    execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'qcow2', at('over.qcow2'), at('whole.qcow2')], { stdio: 'ignore' })
  })
})

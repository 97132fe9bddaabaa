import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { randomNumbers } from '../../../../../tests/fixtures/random'
import { RecordedFile } from '../../../../../tests/fixtures/recorded-file'
import { writeBacking } from './backing'
import { DiskFile } from './disk-file'
import { readHeader, type Backing } from './header'

const dir = mkdtempSync(join(tmpdir(), 'nestbox-backing-'))
const image = join(dir, 'image.qcow2')
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const OLD: Backing = { path: 'old.raw', format: 'raw', identity: undefined }
const identity = { sizeBytes: 1 << 20, modifiedNs: 1_700_000_000_123_456_789n }
const SHORT: Backing = { path: 'b.raw', format: 'raw', identity }
const named = (length: number): Backing => ({ path: `${'n'.repeat(length - 6)}.qcow2`, format: 'qcow2', identity })

/** As QEMU makes them, with its table of feature names, over `old.raw`. */
function made(options: string): Buffer {
  rmSync(image, { force: true })
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-o', options, '-b', OLD.path, '-F', 'raw', image, '1M'])
  return readFileSync(image)
}

const fileOf = (bytes: Buffer): DiskFile => new DiskFile(new RecordedFile(bytes).files, 'image')
const backingOf = async (bytes: Buffer): Promise<Backing | undefined> => (await readHeader(fileOf(bytes))).backing

/** All that a crash may leave: at each place, after a kill, and of power cuts some. */
function* crashes(file: RecordedFile): Generator<Buffer> {
  const next = randomNumbers(3)
  for (let cut = 0; cut <= file.log.length; cut++) {
    yield file.after(cut, () => true).bytes
    for (let i = 0; i < 12; i++) yield file.after(cut, () => next(2) === 0).bytes
  }
}

async function change(start: Buffer, to: Backing, isWritten = true): Promise<RecordedFile> {
  const file = new RecordedFile(start)
  const disk = new DiskFile(file.files, 'image')
  expect(await writeBacking(disk, await readHeader(disk), to)).toBe(isWritten)
  return file
}

interface Info { readonly 'backing-filename': string; readonly 'backing-filename-format': string }

/** What QEMU takes the image to be laid over; it must find it sound as well. */
function asQemuSees(bytes: Buffer): Info {
  writeFileSync(image, bytes)
  // The file below need not be there for that.
  execFileSync('qemu-img', ['check', '-q', `json:${JSON.stringify({ driver: 'qcow2', file: { driver: 'file', filename: image }, backing: null })}`])
  return JSON.parse(execFileSync('qemu-img', ['info', '--output=json', image], { encoding: 'utf8' })) as Info
}

describe('what an image is laid over', () => {
  it.each([
    ['64 KiB clusters', 'compat=1.1', named(20)], ['64 KiB clusters, a long name', 'compat=1.1', named(1023)], ['version 2', 'compat=0.10', named(600)],
    ['512-byte clusters', 'cluster_size=512,compat=0.10', named(100)], ['zstd', 'compression_type=zstd', named(700)], ['4 KiB clusters', 'cluster_size=4096', named(900)],
  ])('is the old or the new one wherever a crash stops its change: %s', async (_, options, to) => {
    let bytes = made(options)
    // There, back to a short one, and there again: from both shapes to both.
    for (const [from, wanted] of [[OLD, to], [to, SHORT], [SHORT, to]] as const) {
      const file = await change(bytes, wanted)
      const kinds = new Map<string, Buffer>()
      for (const crashed of crashes(file)) {
        expect([from, wanted]).toContainEqual(await backingOf(crashed))
        kinds.set(crashed.subarray(0, 4096).toString('latin1'), crashed)
      }
      bytes = file.after(file.log.length, () => true).bytes
      expect(await backingOf(bytes)).toEqual(wanted)
      for (const crashed of [...kinds.values()].slice(0, 6).concat(bytes)) {
        const { path, format } = (await backingOf(crashed))!
        expect(asQemuSees(crashed)).toMatchObject({ 'backing-filename': path, 'backing-filename-format': format })
      }
    }
  })

  it('is changed again after a crash in any state, and nothing of the crash is left', async () => {
    const file = await change(made('compat=1.1'), named(800))
    const clean = file.after(file.log.length, () => true).bytes
    for (const crashed of crashes(file)) {
      const again = await change(crashed, named(800))
      expect(again.after(again.log.length, () => true).bytes.equals(clean)).toBe(true)
    }
  })

  it.each(['cluster_size=1024', 'cluster_size=2048', 'cluster_size=1024,compat=0.10'])('is left alone where there is no room for both: %s', async (options) => {
    const file = await change(made(options), named(/1024/.test(options) ? 480 : 1000), false)
    expect(file.log).toEqual([])
  })

  it('does not fit where the name is longer than the cluster', async () => {
    await expect(change(made('cluster_size=512,compat=0.10'), named(500))).rejects.toThrow(/too long/)
  })
})

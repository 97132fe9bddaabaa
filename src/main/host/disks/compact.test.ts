import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync, truncateSync, appendFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { compactDisk } from './compact'
import { openDisk } from './open'

const MIB = 1 << 20
const root = mkdtempSync(join(tmpdir(), 'nestbox-compact-'))
let dir = root
let count = 0
const at = (name: string): string => join(dir, name)
const qemuImg = (...args: string[]): string => execFileSync('qemu-img', args, { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
const qemuIo = (name: string, ...commands: string[]): void => void execFileSync('qemu-io', ['-f', 'qcow2', ...commands.flatMap((c) => ['-c', c]), name], { cwd: dir, stdio: 'ignore' })

beforeEach(() => {
  dir = mkdtempSync(join(root, `${count++}-`))
  writeFileSync(at('base.raw'), Buffer.alloc(6 * MIB, 0x62))
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** What `qemu-img` reads from it, through everything it is laid over. */
function contentOf(name: string): Buffer {
  rmSync(at('flat.raw'), { force: true })
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', name, 'flat.raw')
  return readFileSync(at('flat.raw'))
}

describe('compacting a qcow2 image', () => {
  it.each([
    ['plain', []], ['version 2', ['compat=0.10']], ['512-byte clusters', ['cluster_size=512']], ['2 MiB clusters', ['cluster_size=2M']], ['1-bit refcounts', ['refcount_bits=1']],
    ['over a base', ['backing_file=base.raw', 'backing_fmt=raw']], ['version 2 over a base', ['compat=0.10', 'backing_file=base.raw', 'backing_fmt=raw']],
  ])('keeps what it says and drops what it does not need: %s', async (_, options) => {
    qemuImg('create', '-q', '-f', 'qcow2', ...options.flatMap((option) => ['-o', option]), 'disk.qcow2', `${8 * MIB + 512}`)
    qemuIo('disk.qcow2', 'write -P 1 0 3M', 'write -P 2 5M 300k', 'write -P 3 8M 512', 'write -P 0 1M 512k', 'discard 2M 1M')
    const expected = contentOf('disk.qcow2')
    chmodSync(at('disk.qcow2'), 0o640)
    const { before, after } = await compactDisk(at('disk.qcow2'), 'qcow2')
    expect(qemuImg('check', '-f', 'qcow2', 'disk.qcow2')).toMatch(/No errors/)
    expect(contentOf('disk.qcow2').equals(expected)).toBe(true)
    expect(after).toBeLessThan(before)
    expect(after).toBe(statSync(at('disk.qcow2')).blocks * 512)
    expect(statSync(at('disk.qcow2')).mode & 0o777).toBe(0o640)
    expect(readdirSync(dir).filter((name) => name.includes('compacting'))).toEqual([])
    // It can be written to as before.
    const disk = await openDisk(at('disk.qcow2'), false)
    await disk.write(4 * MIB, new Uint8Array(100_352).fill(7))
    await disk.close()
    expected.fill(7, 4 * MIB, 4 * MIB + 100_352)
    expect(qemuImg('check', '-f', 'qcow2', 'disk.qcow2')).toMatch(/No errors/)
    expect(contentOf('disk.qcow2').equals(expected)).toBe(true)
  })

  it.each(['zlib', 'zstd'])('keeps compressed clusters compressed, and does not grow when it is done again: %s', async (type) => {
    const text = Buffer.alloc(4 * MIB)
    for (let i = 0; i < text.length; i += 16) text.write(`${i * 7919}`.padEnd(16), i)
    writeFileSync(at('text.raw'), text)
    for (const clusterSize of ['4k', '64k', '2M']) {
      rmSync(at('disk.qcow2'), { force: true })
      qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', `compression_type=${type},cluster_size=${clusterSize}`, 'text.raw', 'disk.qcow2')
      // Of some clusters only the new, uncompressed copy is needed then.
      qemuIo('disk.qcow2', 'write -P 5 1M 200k', 'write -P 6 3M 4k')
      const expected = contentOf('disk.qcow2')
      const sizes: number[] = []
      for (let round = 0; round < 2; round++) {
        sizes.push((await compactDisk(at('disk.qcow2'), 'qcow2')).after)
        expect(qemuImg('check', '-f', 'qcow2', 'disk.qcow2')).toMatch(/No errors/)
        expect(contentOf('disk.qcow2').equals(expected)).toBe(true)
      }
      expect(sizes[1]).toBeLessThanOrEqual(sizes[0])
      // The two writes made both clusters of 2 MiB uncompressed.
      expect(sizes[1]).toBeLessThan(clusterSize === '2M' ? 5 * MIB : 2.5 * MIB)
    }
  })

  it('writes the file a link leads to, and keeps the link', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '4M')
    qemuIo('disk.qcow2', 'write -P 1 0 2M', 'discard 0 1M')
    symlinkSync('disk.qcow2', at('link'))
    await compactDisk(at('link'), 'qcow2')
    expect(readFileSync(at('link')).equals(readFileSync(at('disk.qcow2')))).toBe(true)
    expect(qemuImg('check', '-f', 'qcow2', 'link')).toMatch(/No errors/)
  })

  it('leaves the image as it was where it is cancelled, changed meanwhile, or would lose snapshots', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', 'disk.qcow2', '16M')
    qemuIo('disk.qcow2', 'write -P 1 0 12M')
    const was = readFileSync(at('disk.qcow2'))
    const controller = new AbortController()
    const progress: number[] = []
    await expect(compactDisk(at('disk.qcow2'), 'qcow2', { signal: controller.signal, onProgress: (done) => { progress.push(done); controller.abort() } })).rejects.toThrow(/abort/i)
    expect(progress.length).toBe(1)
    expect(readFileSync(at('disk.qcow2')).equals(was)).toBe(true)
    await expect(compactDisk(at('disk.qcow2'), 'qcow2', { onProgress: () => appendFileSync(at('disk.qcow2'), Buffer.alloc(512)) })).rejects.toThrow(/was written to while it was compacted/)
    truncateSync(at('disk.qcow2'), was.length)
    qemuImg('snapshot', '-c', 'kept', 'disk.qcow2')
    await expect(compactDisk(at('disk.qcow2'), 'qcow2')).rejects.toThrow(/internal snapshots/)
    await expect(compactDisk(at('disk.qcow2'), 'vdi')).rejects.toThrow(/cannot be compacted/)
    expect(readdirSync(dir).filter((name) => name.includes('compacting'))).toEqual([])
  })

  it('removes what a killed one has left, and nothing else', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'disk.qcow2', '4M')
    // Of a process that cannot be there: process ids end at 2^22.
    const left = at('disk.qcow2.99999999-1.compacting')
    const others = [at(`disk.qcow2.${process.ppid}-1.compacting`), at('disk.qcow2.x.compacting'), at('other.qcow2.99999999-1.compacting')]
    for (const path of [left, ...others]) writeFileSync(path, 'x')
    await compactDisk(at('disk.qcow2'), 'qcow2')
    expect(existsSync(left)).toBe(false)
    expect(others.every((path) => existsSync(path))).toBe(true)
  })
})

describe('compacting a raw image', () => {
  it('turns zeroes into holes', async () => {
    const bytes = Buffer.alloc(8 * MIB)
    bytes.fill(9, 3 * MIB, 3 * MIB + 5000)
    writeFileSync(at('disk.raw'), bytes)
    const { before, after } = await compactDisk(at('disk.raw'), 'raw')
    expect(readFileSync(at('disk.raw')).equals(bytes)).toBe(true)
    expect(before).toBeGreaterThanOrEqual(8 * MIB)
    expect(after).toBeLessThanOrEqual(MIB)
  })
})

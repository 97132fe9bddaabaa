import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { RecordedFile } from '../../../../tests/fixtures/recorded-file'
import { openRawDisk } from '../raw-disk'
import { BlockFile, openFiles, type FilePort } from './block-file'
import { CACHE_MODES } from './cache-mode'
import { openDisk } from './open'
import { checkQcow2 } from './qcow2/check'
import { createQcow2 } from './qcow2/create'
import { DiskFile } from './qcow2/disk-file'
import { Qcow2Image } from './qcow2/image'

// Not in a temporary folder, which may be in memory: older kernels have no way past the cache that such a file system is itself.
const here = fileURLToPath(new URL('../../../../.cache/tests', import.meta.url))
mkdirSync(here, { recursive: true })
const dir = mkdtempSync(join(here, 'block-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const at = (name: string): string => join(dir, name)

/** A file that counts what it is asked for. */
function counted(syncs: { count: number }): FilePort {
  const { file } = new RecordedFile(Buffer.alloc(4096)).files
  return { ...file, datasync: () => Promise.resolve(void syncs.count++) }
}

describe('cache modes', () => {
  it.each(CACHE_MODES)('%s: what is written is read back, whole blocks and parts of them', async (cache) => {
    const bytes = randomBytes(3 << 20)
    writeFileSync(at('disk.img'), bytes)
    const disk = await openRawDisk(at('disk.img'), false, cache)
    expect(disk.writeThrough).toBe(cache === 'writethrough' || cache === 'directsync')
    for (const [offset, length] of [[0, 4096], [8192, 2 << 20], [512, 512], [4096 * 5 + 512, 9216], [(3 << 20) - 512, 512], [4096, 1536]]) {
      const part = randomBytes(length)
      bytes.set(part, offset)
      await disk.write(offset, part)
      const back = Buffer.alloc(length)
      await disk.read(offset, back)
      expect(back.equals(part), `${length} at ${offset}`).toBe(true)
    }
    await disk.flush()
    const all = Buffer.alloc(bytes.length)
    await disk.read(0, all)
    await disk.close()
    expect(all.equals(bytes)).toBe(true)
    expect(readFileSync(at('disk.img')).equals(bytes)).toBe(true)
  })

  it('many transfers past the cache at once share the buffers', async () => {
    writeFileSync(at('many.img'), Buffer.alloc(32 << 20))
    const disk = await openRawDisk(at('many.img'), false, 'none')
    await Promise.all(Array.from({ length: 32 }, (_, i) => disk.write(i << 20, Buffer.alloc(1 << 20, i + 1))))
    const back = await Promise.all(Array.from({ length: 32 }, async (_, i) => {
      const bytes = Buffer.alloc(1 << 20)
      await disk.read(i << 20, bytes)
      return bytes.every((byte) => byte === i + 1)
    }))
    await disk.close()
    expect(back.every(Boolean)).toBe(true)
  })

  it('only unsafe does not wait for the medium', async () => {
    for (const cache of CACHE_MODES) {
      const syncs = { count: 0 }
      await new BlockFile({ file: counted(syncs), size: 4096, cache }, 'x').sync()
      expect([cache, syncs.count]).toEqual([cache, cache === 'unsafe' ? 0 : 1])
    }
  })

  it('is refused by name where the file system has no way past its cache', async () => {
    await expect(openFiles('/proc/self/status', true, 'none')).rejects.toMatchObject({
      code: 'unsupported', message: expect.stringMatching(/\/proc\/self\/status: the disk cannot be used past the host's cache.*file system does not offer it/) as string,
    })
  })

  it('qcow2 images work in each of them', async () => {
    for (const cache of CACHE_MODES) {
      rmSync(at('image.qcow2'), { force: true })
      await createQcow2(at('image.qcow2'), { sizeBytes: 8 << 20 })
      const bytes = randomBytes(300_032)
      const disk = await openDisk(at('image.qcow2'), false, 'qcow2', cache)
      await disk.write(512 * 77, bytes)
      await disk.close()
      const again = await openDisk(at('image.qcow2'), true, 'qcow2')
      const back = Buffer.alloc(bytes.length)
      await again.read(512 * 77, back)
      await again.close()
      expect(back.equals(bytes), cache).toBe(true)
    }
  })
})

describe('a full host disk', () => {
  it.each([['ENOSPC', /the host's disk is full/], ['EDQUOT', /quota/], ['EFBIG', /largest size/]])('%s is an error one can wait for', async (code, reason) => {
    const file = counted({ count: 0 })
    const failing = { ...file, write: () => Promise.reject(Object.assign(new Error(code), { code })) }
    const disk = new BlockFile({ file: failing, size: 4096, cache: 'writeback' }, '/d/x.img')
    await expect(disk.write(512, new Uint8Array(512))).rejects.toMatchObject({
      code: 'disk-full', message: expect.stringMatching(reason) as string, details: { path: '/d/x.img', offset: 512 },
    })
    const broken = { ...file, write: () => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })) }
    await expect(new BlockFile({ file: broken, size: 4096, cache: 'writeback' }, 'x').write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'disk-io' })
  })

  it('a qcow2 image in use takes up every write where it left off, at whatever byte the room ends', async () => {
    await createQcow2(at('start.qcow2'), { sizeBytes: 1 << 20, clusterBits: 9 })
    const start = readFileSync(at('start.qcow2'))
    const patient = async (file: RecordedFile, work: () => Promise<void>): Promise<void> => {
      for (;;) {
        try {
          return await work()
        } catch (error) {
          expect(error).toMatchObject({ code: 'disk-full' })
          file.capacity += 700
        }
      }
    }
    const file = new RecordedFile(start)
    file.capacity = start.length
    const image = await Qcow2Image.from(new DiskFile(file.files, 'full.qcow2'), false, () => Promise.reject(new Error('none')))
    const model = Buffer.alloc(1 << 20)
    for (let i = 0; i < 300; i++) {
      const [offset, length] = [((i * 7919) % 2000) * 512, ((i % 7) + 1) * 1024]
      const bytes = Buffer.alloc(Math.min(length, model.length - offset), i + 1)
      model.set(bytes, offset)
      await patient(file, () => image.write(offset, bytes))
      if (i % 9 === 0) await patient(file, () => image.flush())
    }
    await patient(file, () => image.flush())
    await image.close()
    writeFileSync(at('full.qcow2'), file.after(file.log.length, () => true).bytes)
    const disk = await openDisk(at('full.qcow2'), true, 'qcow2')
    const all = Buffer.alloc(model.length)
    await disk.read(0, all)
    await disk.close()
    expect(all.equals(model)).toBe(true)
    // Nothing that a failed write took is lost.
    expect(await checkQcow2(at('full.qcow2'))).toMatchObject({ corruptions: 0, leaks: 0 })
  })
})

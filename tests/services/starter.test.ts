import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { inEnglish, type Said } from '../../src/preload/contract'
import { Starter } from '../../src/main/services/starter'
import { writeCpio } from '../../src/main/services/starter/cpio'
import { dependencies, inLoadOrder, type KernelModule } from '../../src/main/services/starter/modules'

describe('starter', () => {
  let dir: string

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-starter-'))
  })

  afterEach(() => {
    rmSync(dir, { recursive: true, force: true })
  })

  /** Unpacks with the system's cpio: what ours writes, another must read. */
  function unpack(archive: Uint8Array): string {
    const tree = join(dir, 'tree')
    execFileSync('mkdir', [tree])
    execFileSync('cpio', ['-idm', '--quiet'], { cwd: tree, input: archive })
    return tree
  }

  it('writes archives that cpio reads', () => {
    const tree = unpack(writeCpio([
      { path: 'etc', mode: 0o040755 },
      { path: 'etc/empty', mode: 0o100644 },
      { path: 'etc/odd', mode: 0o100755, data: Buffer.from('12345') },
      { path: 'last', mode: 0o100600, data: Buffer.alloc(4097, 7) },
    ]))
    expect(readFileSync(join(tree, 'etc/empty'))).toHaveLength(0)
    expect(readFileSync(join(tree, 'etc/odd'), 'utf8')).toBe('12345')
    expect(readFileSync(join(tree, 'last')).equals(Buffer.alloc(4097, 7))).toBe(true)
    expect(execFileSync('stat', ['-c', '%a', join(tree, 'etc/odd')], { encoding: 'utf8' }).trim()).toBe('755')
  })

  it('loads what a module needs before it', async () => {
    const module = (name: string, depends: string): KernelModule => ({ name, data: Buffer.from(`ELF\0license=GPL\0depends=${depends}\0name=${name}\0`) })
    const all = new Map([module('virtio-rng', 'rng_core,virtio'), module('rng-core', ''), module('virtio', 'virtio_ring'), module('virtio_ring', '')]
      .map((item) => [item.name.replaceAll('-', '_'), item]))
    const order = await inLoadOrder(['virtio-rng', 'virtio', 'ext4'], (name) => Promise.resolve(all.get(name.replaceAll('-', '_'))))
    expect(order.map(({ name }) => name)).toEqual(['rng-core', 'virtio_ring', 'virtio', 'virtio-rng'])
    expect(dependencies(Buffer.from('no such field'))).toEqual([])
  })

  it("is built from the distribution's packages, once", async () => {
    const starter = new Starter(join(dir, 'starter'))
    const [before] = await starter.list()
    expect(before).toMatchObject({ id: 'starter', ready: false })
    expect(before.unavailable).toBeUndefined()
    const details: string[] = []
    const fractions: number[] = []
    const progress = {
      signal: new AbortController().signal,
      report: (fraction: number | undefined, detail?: Said) => {
        if (fraction !== undefined) fractions.push(fraction)
        if (detail !== undefined) details.push(inEnglish(detail))
      },
    }
    const files = await starter.prepare('starter', progress)
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b))
    expect(details.some((detail) => detail.startsWith('Downloading linux-image-'))).toBe(true)
    expect(readFileSync(files.kernel).subarray(0x202, 0x206).toString()).toBe('HdrS')
    const tree = unpack(gunzipSync(readFileSync(files.initrd)))
    const order = readFileSync(join(tree, 'modules.order'), 'utf8').trim().split('\n')
    expect(order.indexOf('virtio_ring.ko')).toBeLessThan(order.indexOf('virtio.ko'))
    expect(order).toContain('virtio_blk.ko')
    expect(execFileSync(join(tree, 'bin/busybox'), ['echo', 'works'], { encoding: 'utf8' })).toBe('works\n')
    expect(readdirSync(dir).sort()).toEqual(['starter', 'tree'])
    const said = details.length
    await starter.prepare('starter', progress)
    expect(details).toHaveLength(said)
    expect((await starter.list())[0]).toMatchObject({ ready: true })
    // One that an older Nestbox built is built anew.
    const info = join(dir, 'starter', 'info.json')
    writeFileSync(info, readFileSync(info, 'utf8').replace(/"recipe":"\w+"/, '"recipe":"older"'))
    expect((await starter.list())[0]).toMatchObject({ ready: false })
  }, 240_000)

  it('leaves nothing behind when it is cancelled', async () => {
    const abort = new AbortController()
    const starter = new Starter(join(dir, 'starter'))
    const work = starter.prepare('starter', { signal: abort.signal, report: (_fraction, detail) => typeof detail === 'object' && detail.key === 'step.downloading' && abort.abort() })
    await expect(work).rejects.toMatchObject({ name: 'AbortError' })
    expect(existsSync(join(dir, 'starter.work'))).toBe(false)
    expect((await starter.list())[0].ready).toBe(false)
  })

  // Needs a file system of its own, which only root may mount.
  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('says that the disk is full', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', dir])
    try {
      const work = new Starter(join(dir, 'starter')).prepare('starter', { signal: new AbortController().signal, report: () => undefined })
      await expect(work).rejects.toMatchObject({ code: 'disk-full' })
      expect(readdirSync(dir)).toEqual([])
    } finally {
      execFileSync('umount', ['-l', dir])
    }
  })
})

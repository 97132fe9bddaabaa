import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { image, phrase } from '../../src/preload/contract'
import { Catalog } from '../../src/main/services/catalog'
import { downloadFile, fetchText, findChecksum } from '../../src/main/services/catalog/download'
import { CATALOG, type CatalogEntry } from '../../src/main/services/catalog/entries'
import { Images } from '../../src/main/services/images'
import { Tasks } from '../../src/main/services/tasks'

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

function noise(size: number): Buffer {
  const data = Buffer.alloc(size)
  let x = 1
  for (let i = 0; i < size; i++) data[i] = (x = (x * 1103515245 + 12345) & 0x7fffffff) >> 16
  return data
}

/** A file server that can break off, ignore ranges, go slow and change its files. */
class FileServer {
  readonly files = new Map<string, Buffer>()
  readonly requests: string[] = []
  tag = '"one"'
  /** Breaks the line after so many bytes of an answer, this many times. */
  breakAfter = Infinity
  breaks = 0
  ranges = true
  slow = false
  status = 200
  private readonly server: Server = createServer((request, response) => this.answer(request, response))

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }

  close(): void {
    this.server.closeAllConnections()
    this.server.close()
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const data = this.files.get(request.url ?? '')
    const { range } = request.headers
    this.requests.push(`${request.url} ${range ?? 'whole'}`)
    if (this.status !== 200 || !data) return void response.writeHead(data ? this.status : 404).end()
    const from = this.ranges && range && request.headers['if-range'] === this.tag ? Number(/bytes=(\d+)-/.exec(range)?.[1]) : 0
    const headers = { etag: this.tag, 'content-length': data.length - from }
    if (from >= data.length && from > 0) return void response.writeHead(416).end()
    if (from > 0) response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${data.length - 1}/${data.length}` })
    else response.writeHead(200, headers)
    if (this.slow) return void response.write(data.subarray(from, from + 65536))
    if (data.length - from > this.breakAfter && this.breaks-- > 0) {
      response.write(data.subarray(from, from + this.breakAfter), () => setTimeout(() => response.destroy(), 20))
    } else response.end(data.subarray(from))
  }
}

describe('downloads', () => {
  let dir: string
  let server: FileServer
  let base: string
  const data = noise(3 << 20)

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nestbox-catalog-'))
    server = new FileServer()
    base = await server.listen()
    server.files.set('/file', data)
  })

  afterEach(() => {
    server.close()
    rmSync(dir, { recursive: true, force: true })
  })

  const target = (): string => join(dir, 'file')
  const get = (more: { checksum?: string; signal?: AbortSignal; onProgress?: (received: number, total: number | undefined) => void } = {}): Promise<void> => downloadFile({
    url: `${base}file`, target: target(), algorithm: 'sha256', checksum: sha256(data), signal: new AbortController().signal, onProgress: () => undefined, ...more,
  })

  it('fetches, tells how far it is, and leaves the file only', async () => {
    const seen: [number, number | undefined][] = []
    await get({ onProgress: (received, total) => seen.push([received, total]) })
    expect(readFileSync(target()).equals(data)).toBe(true)
    expect(seen.at(-1)).toEqual([data.length, data.length])
    expect(seen.length).toBeGreaterThan(3)
    expect(existsSync(`${target()}.part`) || existsSync(`${target()}.part.json`)).toBe(false)
  })

  it('goes on where the line broke', async () => {
    server.breakAfter = 1 << 20
    server.breaks = 2
    await get()
    expect(readFileSync(target()).equals(data)).toBe(true)
    expect(server.requests[0]).toBe('/file whole')
    expect(server.requests).toHaveLength(3)
    expect(server.requests.slice(1).every((request) => /bytes=[1-9]\d*-/.test(request))).toBe(true)
  })

  it('goes on in a later run, and begins anew where the file changed', async () => {
    server.slow = true
    const abort = new AbortController()
    const broken = get({ signal: abort.signal, onProgress: () => abort.abort() })
    await expect(broken).rejects.toMatchObject({ name: 'AbortError' })
    expect(existsSync(`${target()}.part`)).toBe(true)
    server.slow = false
    await get()
    expect(server.requests.at(-1)).toMatch(/bytes=[1-9]/)
    expect(readFileSync(target()).equals(data)).toBe(true)

    rmSync(target())
    server.slow = true
    const again = new AbortController()
    await expect(get({ signal: again.signal, onProgress: () => again.abort() })).rejects.toMatchObject({ name: 'AbortError' })
    server.slow = false
    server.tag = '"two"'
    await get()
    expect(readFileSync(target()).equals(data)).toBe(true)
  })

  it('takes the whole file from a server that knows no ranges', async () => {
    server.ranges = false
    server.breakAfter = 1 << 20
    server.breaks = 1
    await get()
    expect(readFileSync(target()).equals(data)).toBe(true)
  })

  it('throws away what is not what was published', async () => {
    await expect(get({ checksum: '0'.repeat(64) })).rejects.toMatchObject({ code: 'checksum-mismatch' })
    expect(existsSync(target()) || existsSync(`${target()}.part`)).toBe(false)
  })

  it('gives up at once on what the server does not have, after some tries on what is broken', async () => {
    server.files.delete('/file')
    await expect(get()).rejects.toMatchObject({ code: 'download-failed' })
    expect(server.requests).toHaveLength(1)
    server.files.set('/file', data)
    server.status = 503
    await expect(get()).rejects.toMatchObject({ code: 'download-failed' })
    expect(server.requests).toHaveLength(5)
    server.close()
    await expect(fetchText(`${base}list`, new AbortController().signal)).rejects.toMatchObject({ code: 'download-failed' })
  })

  // Needs a file system of its own, which only root may mount.
  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('says that the disk is full', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', dir])
    try {
      await expect(get()).rejects.toMatchObject({ code: 'disk-full' })
    } finally {
      execFileSync('umount', ['-l', dir])
    }
  })

  it('finds checksums in the forms makers write', () => {
    const [a, b] = [sha256(noise(1)), sha256(noise(2))]
    const list = `${a}  ./netboot/linux\n${b.toUpperCase()} *netboot/initrd.gz\r\nrubbish\n`
    expect(findChecksum(list, 'netboot/linux', 'sha256')).toBe(a)
    expect(findChecksum(list, 'netboot/initrd.gz', 'sha256')).toBe(b)
    expect(findChecksum(list, 'linux', 'sha256')).toBeUndefined()
    expect(findChecksum(list, 'netboot/linux', 'sha512')).toBeUndefined()
  })

  describe('catalogue', () => {
    const kernel = noise(300_000)
    const initrd = noise(500_000)
    let entry: CatalogEntry

    beforeEach(() => {
      server.files.set('/images/boot/linux', kernel)
      server.files.set('/images/boot/initrd', initrd)
      server.files.set('/images/SUMS', Buffer.from(`${sha256(kernel)}  ./boot/linux\n${sha256(initrd)}  ./boot/initrd\n`))
      entry = {
        id: 'test', name: 'Test', description: phrase('about.freedos'), home: base,
        source: {
          base: `${base}images/`, checksums: 'SUMS', algorithm: 'sha256', commandLine: 'quiet',
          files: [{ role: 'kernel', path: 'boot/linux' }, { role: 'initrd', path: 'boot/initrd' }],
        },
      }
    })

    it('fetches an image once, as a task, for all who ask', async () => {
      const tasks = new Tasks()
      const states: string[] = []
      tasks.onDidChange((task) => states.push(task.state))
      const images = new Images(dir, tasks, [new Catalog(join(dir, 'images'), [entry])])
      expect(await images.list()).toEqual([{ id: 'test', name: 'Test', description: phrase('about.freedos'), ready: false }])
      const [one, two] = await Promise.all([images.prepare('test'), images.prepare('test')])
      expect(two.task.id).toBe(one.task.id)
      const files = await one.result
      expect(files.commandLine).toBe('quiet')
      expect(readFileSync(files.kernel).equals(kernel) && readFileSync(files.initrd).equals(initrd)).toBe(true)
      expect(states.at(-1)).toBe('done')
      expect(await images.list()).toMatchObject([{ ready: true, sha256: sha256(kernel) }])
      const asked = server.requests.length
      await (await images.prepare('test')).result
      expect(server.requests).toHaveLength(asked)
    })

    it('is cancelled', async () => {
      server.slow = true
      const tasks = new Tasks()
      const images = new Images(dir, tasks, [new Catalog(join(dir, 'images'), [entry])])
      const { task, result } = await images.prepare('test')
      await new Promise((resolve) => setTimeout(resolve, 200))
      tasks.cancel(task.id)
      await expect(result).rejects.toMatchObject({ code: 'cancelled' })
      expect(tasks.list()).toMatchObject([{ id: task.id, state: 'cancelled', cancellable: false }])
      expect(() => tasks.cancel(task.id)).toThrow('already')
      server.slow = false
      await (await images.prepare('test')).result
    })

    it('fetches nothing that the list does not vouch for', async () => {
      server.files.set('/images/SUMS', Buffer.from('nothing here\n'))
      const catalog = new Catalog(join(dir, 'images'), [entry])
      await expect(catalog.prepare('test', { signal: new AbortController().signal, report: () => undefined })).rejects.toMatchObject({ code: 'checksum-mismatch' })
      expect(server.requests).toEqual(['/images/SUMS whole'])
    })

    it('lists official images: what cannot start here says why', async () => {
      for (const item of await new Catalog(join(dir, 'images')).list()) expect(image.parse(item)).toEqual(item)
      for (const { source, unavailable } of CATALOG) {
        expect((source === undefined) !== (unavailable === undefined)).toBe(true)
        if (source) expect(source.base).toMatch(/^https:\/\/.*\/$/)
      }
    })
  })
})

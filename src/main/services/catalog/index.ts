/** Official images: listed, fetched once, kept. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { phrase, type Image } from '../../../preload/contract'
import { ServiceError } from '../errors'
import { folderSize, writeAtomic } from '../files'
import type { BootFiles, ImageSource } from '../images'
import type { Progress } from '../types'
import { downloadFile, fetchText, findChecksum } from './download'
import { CATALOG, type CatalogEntry, type CatalogFile } from './entries'

const infoFile = z.object({ files: z.record(z.string(), z.string()) })

type Source = NonNullable<CatalogEntry['source']>

export class Catalog implements ImageSource {
  /** @param dir each image has a folder in it */
  constructor(private readonly dir: string, private readonly entries: readonly CatalogEntry[] = CATALOG) {}

  has(id: string): boolean {
    return this.entries.some((entry) => entry.id === id)
  }

  list(): Promise<Image[]> {
    return Promise.all(this.entries.map((entry) => this.describe(entry)))
  }

  private async describe(entry: CatalogEntry): Promise<Image> {
    const { id, name, description, unavailable } = entry
    const checksums = await this.checksums(entry)
    return {
      id, name, description, ready: checksums !== undefined,
      ...(unavailable ? { unavailable } : {}),
      ...(checksums ? { sizeBytes: await folderSize(join(this.dir, id)) } : {}),
      ...(checksums && entry.source?.algorithm === 'sha256' ? { sha256: checksums[entry.source.files[0].path] } : {}),
    }
  }

  /** Of the files that are here, by path; undefined while the image is not whole. Written last, so it vouches for the files. */
  private async checksums({ id, source }: CatalogEntry): Promise<Record<string, string> | undefined> {
    try {
      const { files } = infoFile.parse(JSON.parse(await readFile(join(this.dir, id, 'info.json'), 'utf8')))
      return source?.files.every(({ path }) => path in files) ? files : undefined
    } catch {
      return undefined
    }
  }

  private target(id: string, { role }: CatalogFile): string {
    return join(this.dir, id, role)
  }

  private bootFiles(id: string, source: Source): BootFiles {
    const path = (role: CatalogFile['role']): string => {
      const file = source.files.find((candidate) => candidate.role === role)
      return file ? this.target(id, file) : ''
    }
    return { kernel: path('kernel'), initrd: path('initrd'), commandLine: source.commandLine }
  }

  async prepare(id: string, progress: Progress): Promise<BootFiles> {
    const entry = this.entries.find((candidate) => candidate.id === id)
    if (!entry?.source) throw new ServiceError('image-unavailable', phrase('image.unavailable', { name: entry?.name ?? id, why: entry?.unavailable ?? phrase('image.unknown') }))
    const { source } = entry
    if (await this.checksums(entry)) return this.bootFiles(id, source)
    progress.report(undefined, phrase('step.fetchSums'))
    const list = await fetchText(source.base + source.checksums, progress.signal)
    const files: Record<string, string> = {}
    for (const [i, file] of source.files.entries()) {
      files[file.path] = await this.fetch(id, source, file, list, progress, i)
    }
    await writeAtomic(join(this.dir, id, 'info.json'), `${JSON.stringify({ files })}\n`)
    return this.bootFiles(id, source)
  }

  private async fetch(id: string, source: Source, file: CatalogFile, list: string, progress: Progress, index: number): Promise<string> {
    const checksum = findChecksum(list, file.path, source.algorithm)
    const url = source.base + file.path
    if (!checksum) throw new ServiceError('checksum-mismatch', phrase('download.notListed', { list: source.base + source.checksums, file: file.path }))
    const detail = phrase('step.downloadingPart', { what: phrase(`file.${file.role}`), number: index + 1, count: source.files.length })
    await downloadFile({
      url, checksum, target: this.target(id, file), algorithm: source.algorithm, signal: progress.signal,
      onProgress: (received, total) => progress.report(total ? (index + received / total) / source.files.length : undefined, detail),
    })
    return checksum
  }
}

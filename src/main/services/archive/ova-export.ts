/** Writes a machine as OVA: a tar of the description, a manifest, and the disks as stream-optimised VMDK. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { DiskSource } from '../../host/disks/formats/common/write'
import { writeForeignImage } from '../../host/disks/formats/foreign'
import { writeError } from '../errors'
import type { Progress } from '../types'
import type { Appliance } from './appliance'
import { manifestLine } from './manifest'
import { writeOvf } from './ovf/write'
import { temporaryName, writeTar } from './tar-writer'

/** Files that go in as they are: the kernel and the initial RAM disk of a machine that boots without firmware. */
export interface ExtraFile {
  readonly name: string
  readonly path: string
}

interface Packed {
  readonly name: string
  readonly path: string
  readonly sizeBytes: number
  readonly sha256: string
}

async function digestOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(path, { signal, highWaterMark: 1 << 20 })) hash.update(part as Buffer)
  return hash.digest('hex')
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Converting is by far the longest part of the work. */
const CONVERT_SHARE = 0.85

async function convertDisks(appliance: Appliance, disks: readonly DiskSource[], folder: string, { signal, report }: Progress): Promise<Omit<Packed, 'sha256' | 'sizeBytes'>[]> {
  const total = disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let before = 0
  const files = []
  for (const [i, source] of disks.entries()) {
    const { fileName } = appliance.disks[i]
    const path = join(folder, fileName)
    await writeForeignImage(source, path, 'vmdk', { signal, onProgress: (done) => report(((before + done) / total) * CONVERT_SHARE, fileName) }, fileName)
    before += source.sizeBytes
    files.push({ name: fileName, path })
  }
  return files
}

/**
 * @param disks one for each disk of the description, in its order
 * @param target the new file, replaced if there is one; `.ova` by custom
 * @throws ServiceError disk-full, library-read-only; AbortError; in each case the target is as it was
 */
export async function exportOva(appliance: Appliance, disks: readonly DiskSource[], extras: readonly ExtraFile[], target: string, progress: Progress): Promise<void> {
  if (disks.length !== appliance.disks.length) throw new RangeError('one disk is needed for each disk of the description')
  const folder = temporaryName(target)
  try {
    await mkdir(folder, { mode: 0o700 })
    const described = { ...appliance, disks: appliance.disks.map((disk, i) => ({ ...disk, capacityBytes: disks[i].sizeBytes })) }
    const files: Packed[] = []
    for (const file of [...(await convertDisks(appliance, disks, folder, progress)), ...extras]) {
      files.push({ ...file, sizeBytes: (await stat(file.path)).size, sha256: await digestOf(file.path, progress.signal) })
    }
    const stem = stemOf(appliance.name)
    const ovf = writeOvf(described, files)
    const manifest = [manifestLine(`${stem}.ovf`, sha256(ovf)), ...files.map(({ name, sha256: digest }) => manifestLine(name, digest))].join('')
    await writeTar(target, progress.signal, async (tar) => {
      // The description must be the first; the manifest follows it.
      await tar.add(`${stem}.ovf`, Buffer.byteLength(ovf), Buffer.from(ovf))
      await tar.add(`${stem}.mf`, Buffer.byteLength(manifest), Buffer.from(manifest))
      for (const [i, { name, path, sizeBytes }] of files.entries()) {
        progress.report(CONVERT_SHARE + ((1 - CONVERT_SHARE) * i) / files.length, name)
        await tar.add(name, sizeBytes, createReadStream(path, { signal: progress.signal, highWaterMark: 1 << 20 }))
      }
    })
  } catch (error) {
    throw error instanceof Error && error.name === 'AbortError' ? error : writeError(error, target)
  } finally {
    await rm(folder, { recursive: true, force: true }).catch(() => undefined)
  }
}

/** A plain file name after a machine's name. */
export function stemOf(name: string): string {
  return name.normalize('NFKD').replace(/[^\w.-]+/g, '-').replace(/^[-.]+|[-.]+$/g, '').slice(0, 64) || 'machine'
}

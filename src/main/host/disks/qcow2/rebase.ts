/** Says anew what an image is laid over, and takes the backing file as it is now. No data is moved where its first cluster has room. */
import { chmod, realpath, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { copyImage } from '../../copy-file'
import { systemCauseOf } from '../../system-cause'
import { VmmError } from '../../../vmm/errors'
import { writeBeside } from '../beside'
import { setKeptTime, withDiskLock } from '../lock'
import { writeBacking } from './backing'
import { DiskFile } from './disk-file'
import { readHeader, type Backing, type Header } from './header'
import { identityOf, isSameTime } from './identity'

/**
 * @param backing undefined: the one it has, only taken as it is now
 * @returns what it is laid over now
 * @throws VmmError `disk-io` where the backing file is missing, `bad-config` where the image has none and none was given;
 *   DiskFormatError; RangeError where the name does not fit
 */
export async function rebaseQcow2(path: string, backing?: Backing): Promise<Backing> {
  // Images laid over this one know it by size and time. What they see of it stays as it is, so it keeps its time.
  const keepsNs = await timeOf(path)
  return withDiskLock(path, () => rebaseLocked(path, keepsNs, backing), keepsNs)
}

/** @returns undefined where there is no such file: who opens it says so */
async function timeOf(path: string): Promise<bigint | undefined> {
  return (await identityOf(path).catch(() => undefined))?.modifiedNs
}

/** The image is the old one until the copy is whole and on stable storage. @throws system errors: the image is then as it was */
async function replaceByCopy(path: string, header: Header, next: Backing, keepsNs: bigint): Promise<void> {
  await writeBeside(path, { purpose: 'writing', replace: true }, async (part) => {
    await copyImage(path, part)
    const copy = await DiskFile.open(part, false)
    try {
      await writeBacking(copy, header, next, true)
    } finally {
      await copy.close()
    }
    await chmod(part, (await stat(path)).mode & 0o7777)
    await setKeptTime(part, keepsNs)
  })
}

async function rebaseLocked(path: string, keepsNs: bigint | undefined, backing: Backing | undefined): Promise<Backing> {
  const file = await DiskFile.open(path, false)
  try {
    // Killed before, another one may have left it to this one to give the time back: then it has whole seconds.
    const was = await timeOf(path)
    if (keepsNs === undefined || was === undefined || !isSameTime(was, keepsNs)) throw new VmmError('disk-io', `${path} was changed while its base was to be`, { path })
    const header = await readHeader(file)
    const wanted = backing ?? header.backing
    if (!wanted) throw new VmmError('bad-config', `${path} is laid over nothing`, { path })
    const parent = resolve(dirname(path), wanted.path)
    const identity = await identityOf(parent).catch((cause: unknown) => {
      throw new VmmError('disk-io', `${parent} cannot be opened: ${systemCauseOf(cause).detail}`, { path: parent }, { cause })
    })
    const next = { path: wanted.path, format: wanted.format, identity }
    if (await writeBacking(file, header, next)) await setKeptTime(path, keepsNs)
    else await replaceByCopy(await realpath(path), header, next, keepsNs)
    return next
  } finally {
    await file.close()
  }
}

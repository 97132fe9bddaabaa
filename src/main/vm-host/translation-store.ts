/**
 * Translations kept from one run of a guest to the next, in files the user's machines share. A file is used only if it was
 * written by this very program (the version is part of its name) for this user (a key of the user's signs it): it holds code
 * that will run.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual, webcrypto } from 'node:crypto'
import { chmodSync, closeSync, fstatSync, futimesSync, mkdirSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { programId } from '../host/cached-program'
import { ENGINE } from '../host/machine-code'
import type { CompiledPack, KeptTranslations } from '../vmm/machine'
import { pruneFolder, replaceFile, replaceFileAside } from './cache-folder'

const KEY_BYTES = 32
const MAC_BYTES = 32
/** Of all files together; the longest unused go first. */
const MAX_BYTES = 256e6
const SUFFIX = '.pack'
/** Machine code of a pack: MAC, the pack's MAC, u32 length of the wasm module (little-endian), the module, the code. */
const CODE_SUFFIX = '.code'
const CODE_HEADER = MAC_BYTES + 4
const MAX_CODE_BYTES = 512e6

export interface Guest {
  /** Of what the machine boots: machines with the same kernel share their translations. */
  readonly kernelHash: string
  readonly cpuProfile: string
}

export class TranslationStore {
  private readonly key: Buffer
  private readonly version: string

  /**
   * @param folder made where it does not exist @param program file whose contents are the translator's version
   * @throws Error where the folder or the key cannot be made or read
   */
  constructor(private readonly folder: string, program: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.key = readKey(join(folder, 'key'))
    this.version = programId(program)
  }

  private codePath(guest: Guest): string {
    return this.path(guest).replace(SUFFIX, `.${ENGINE}${CODE_SUFFIX}`)
  }

  private path({ kernelHash, cpuProfile }: Guest): string {
    const name = createHash('sha256').update(this.version).update(`\n${cpuProfile}\n${kernelHash}`).digest('hex').slice(0, 32)
    return join(this.folder, `${name}${SUFFIX}`)
  }

  /** @param content in its parts */
  private sign(...content: readonly Uint8Array[]): Buffer {
    return content.reduce((mac, part) => mac.update(part), createHmac('sha256', this.key).update(this.version)).digest()
  }

  /** The guest's translations; undefined where there are none. A file that is not ours, or damaged, is removed. */
  load(guest: Guest): KeptTranslations | undefined {
    const file = this.loadFile(this.path(guest))
    if (!file) return undefined
    const pack = file.subarray(MAC_BYTES)
    const compiled = this.loadCode(guest, file.subarray(0, MAC_BYTES))
    return compiled ? { pack, compiled } : { pack }
  }

  /** A signed file as it stands; undefined where there is none. */
  private loadFile(path: string): Buffer | undefined {
    const file = readParts(path, () => 0)?.[1]
    return file && this.isSigned(path, file.subarray(0, MAC_BYTES), file.subarray(MAC_BYTES)) ? file : undefined
  }

  /** @param content in its parts. A file that is not ours is removed */
  private isSigned(path: string, mac: Uint8Array, ...content: readonly Uint8Array[]): boolean {
    if (mac.length === MAC_BYTES && timingSafeEqual(mac, this.sign(...content))) return true
    rmSync(path, { force: true })
    return false
  }

  private loadCode(guest: Guest, packMac: Buffer): CompiledPack | undefined {
    const path = this.codePath(guest)
    const headEnd = MAC_BYTES + CODE_HEADER
    // The machine code has a buffer of its own: the engine would have it copied otherwise.
    const parts = readParts(path, (head) => headEnd + head.readUInt32LE(headEnd - 4), headEnd)
    if (!parts) return undefined
    const [head, machineCode] = parts
    // One of an earlier pack will be replaced.
    if (!this.isSigned(path, head.subarray(0, MAC_BYTES), head.subarray(MAC_BYTES), machineCode) || !head.subarray(MAC_BYTES, 2 * MAC_BYTES).equals(packMac)) return undefined
    return { wasm: head.subarray(headEnd), machineCode }
  }

  /** @throws Error where the file cannot be written; an earlier one is still there then */
  save(guest: Guest, pack: Uint8Array): void {
    replaceFile(this.path(guest), Buffer.concat([this.sign(pack), pack]))
    pruneFolder(this.folder, SUFFIX, MAX_BYTES)
  }

  /**
   * Puts a pack in the place of another.
   * @returns false where that one is no longer there, and nothing was done
   * @throws as `save`
   */
  replace(guest: Guest, pack: Uint8Array, by: Uint8Array): boolean {
    if (!this.loadFile(this.path(guest))?.subarray(0, MAC_BYTES).equals(this.sign(pack))) return false
    this.save(guest, by)
    return true
  }

  /**
   * Keeps what this engine made of a pack.
   * @param pack as `load` gave it: where another one stands there by now, nothing is ever made of this one's code
   * @throws Error where the file cannot be written; an earlier one is still there then
   */
  saveCode(guest: Guest, { pack, compiled }: Required<KeptTranslations>): void {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(compiled.wasm.length)
    const content = Buffer.concat([this.sign(pack), length, compiled.wasm, compiled.machineCode])
    replaceFile(this.codePath(guest), Buffer.concat([this.sign(content), content]))
    pruneFolder(this.folder, CODE_SUFFIX, MAX_CODE_BYTES)
  }

  /**
   * For the time of work on a guest's code: only one process at a time does it.
   * @returns false where another one does, and `work` was not done
   */
  alone(guest: Guest, work: () => void): boolean {
    const path = `${this.codePath(guest)}.working`
    if (!claim(path)) return false
    try {
      work()
    } finally {
      rmSync(path, { force: true })
    }
    return true
  }

  /** As `save`, signed and written by Node's threads: while a guest runs on this one. Only one at a time. */
  async saveAside(guest: Guest, pack: Uint8Array): Promise<void> {
    const key = await webcrypto.subtle.importKey('raw', this.key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
    const mac = await webcrypto.subtle.sign('HMAC', key, Buffer.concat([Buffer.from(this.version), pack]))
    await replaceFileAside(this.path(guest), Buffer.concat([Buffer.from(mac), pack]))
    pruneFolder(this.folder, SUFFIX, MAX_BYTES)
  }
}

/**
 * A file in two parts, each in a buffer of its own; its time is set to now.
 * @param splitAt where the second part begins, from the file's first bytes
 * @param needed so many of them; a shorter file has no second part
 * @returns undefined where there is none
 */
function readParts(path: string, splitAt: (head: Buffer) => number, needed = 0): readonly [Buffer, Buffer] | undefined {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const head = Buffer.alloc(needed)
    const { size } = fstatSync(file)
    const split = readSync(file, head, 0, needed, 0) < needed ? size : Math.min(splitAt(head), size)
    const parts = [Buffer.allocUnsafeSlow(split), Buffer.allocUnsafeSlow(size - split)] as const
    for (const part of parts) if (part.length > 0 && readSync(file, part, 0, part.length, part === parts[0] ? 0 : split) < part.length) return undefined
    futimesSync(file, new Date(), new Date())
    return parts
  } catch {
    return undefined
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** @returns false where a process that lives has claimed the file */
function claim(path: string): boolean {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  if (isAlive(Number(readFileSync(path, 'latin1')))) return false
  rmSync(path, { force: true })
  return claim(path)
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** The user's key; made by whoever comes first. */
function readKey(path: string): Buffer {
  try {
    writeFileSync(path, randomBytes(KEY_BYTES), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const key = readFileSync(path)
  if (key.length === KEY_BYTES) return key
  // Cut short by a full disk or a kill: packs signed with it are of no use either.
  writeFileSync(path, randomBytes(KEY_BYTES), { mode: 0o600 })
  chmodSync(path, 0o600)
  return readFileSync(path)
}

/**
 * Translations kept from one run of a guest to the next, in files the user's machines share. A file is used only if it was
 * written by this very program (the version is part of its name) for this user (a key of the user's signs it): it holds code
 * that will run.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual, webcrypto } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
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

  private sign(pack: Uint8Array): Buffer {
    return createHmac('sha256', this.key).update(this.version).update(pack).digest()
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
    let file: Buffer
    try {
      file = readFileSync(path)
      utimesSync(path, new Date(), new Date())
    } catch {
      return undefined
    }
    if (file.length > MAC_BYTES && timingSafeEqual(file.subarray(0, MAC_BYTES), this.sign(file.subarray(MAC_BYTES)))) return file
    rmSync(path, { force: true })
    return undefined
  }

  private loadCode(guest: Guest, packMac: Buffer): CompiledPack | undefined {
    const file = this.loadFile(this.codePath(guest))?.subarray(MAC_BYTES)
    // One of an earlier pack will be replaced.
    if (!file?.subarray(0, MAC_BYTES).equals(packMac)) return undefined
    const end = CODE_HEADER + file.readUInt32LE(MAC_BYTES)
    return { wasm: file.subarray(CODE_HEADER, end), machineCode: file.subarray(end) }
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

/** Fetches one file: goes on where an earlier try stopped, checks what came, and only then gives the file its name. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, rename, rm, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { inEnglish, phrase, type Phrase, type PhraseValue } from '../../../preload/contract'
import { ServiceError, systemCode, whyOf, writeError } from '../errors'
import { makeFolder, syncFolder } from '../files'

export type Algorithm = 'sha256' | 'sha512'

export interface Download {
  readonly url: string
  /** Where the file goes. Until it is whole and checked it is `<target>.part`. */
  readonly target: string
  readonly algorithm: Algorithm
  /** Hexadecimal. */
  readonly checksum: string
  readonly signal: AbortSignal
  /** @param total undefined where the server does not say */
  readonly onProgress: (received: number, total: number | undefined) => void
}

/** Tries after the line broke; each goes on where the last one stopped. */
const TRIES = 4
const STALL_MS = 30_000
const LARGEST_LIST = 4 << 20

/** What went wrong, in our words; worth another try. */
class Trouble extends Error {
  constructor(readonly phrase: Phrase) {
    super(inEnglish(phrase))
  }
}

/** Another try would end alike. */
class Refused extends Trouble {}

/** A fetch that ends where the server falls silent. `alive` must be called whenever something came. */
async function request(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<{ response: Response; alive: () => void; done: () => void }> {
  const stalled = new AbortController()
  const stall = (): void => stalled.abort(new Trouble(phrase('download.silent', { seconds: STALL_MS / 1000 })))
  let timer = setTimeout(stall, STALL_MS)
  const alive = (): void => {
    clearTimeout(timer)
    timer = setTimeout(stall, STALL_MS)
  }
  const onAbort = (): void => stalled.abort(signal.reason)
  signal.addEventListener('abort', onAbort)
  const done = (): void => {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
  try {
    signal.throwIfAborted()
    return { response: await fetch(url, { headers: { 'accept-encoding': 'identity', ...headers }, signal: stalled.signal }), alive, done }
  } catch (error) {
    done()
    throw error
  }
}

function causeOf(error: unknown): PhraseValue {
  if (error instanceof Trouble) return error.phrase
  const cause = error instanceof Error ? error.cause : undefined
  return whyOf(cause instanceof Error && cause.message !== '' ? cause : error)
}

/** Runs `attempt` until it succeeds, is refused for good, or the tries are used up. */
async function retrying<T>(url: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let n = 1; ; n++) {
    try {
      return await attempt()
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ServiceError) throw error
      if (error instanceof Refused || n === TRIES) throw new ServiceError('download-failed', phrase('download.failed', { url, cause: causeOf(error) }), { url })
      await new Promise((resolve) => setTimeout(resolve, 200 * 2 ** n))
    }
  }
}

/** A short text, such as a list of checksums. @throws ServiceError download-failed */
export function fetchText(url: string, signal: AbortSignal): Promise<string> {
  return retrying(url, signal, async () => {
    const { response, done } = await request(url, {}, signal)
    try {
      if (!response.ok) throw refusal(response)
      const text = await response.text()
      if (text.length > LARGEST_LIST) throw new Refused(phrase('download.tooLong'))
      return text
    } finally {
      done()
    }
  })
}

function refusal(response: Response): Error {
  const answer = phrase('download.answered', { status: `${response.status} ${response.statusText}`.trim() })
  return response.status >= 500 || response.status === 429 ? new Trouble(answer) : new Refused(answer)
}

/** What the partial file is a part of: another version of the file must not be glued to it. */
interface PartNote { readonly url: string; readonly checksum: string; readonly validator: string }

async function partialSize({ target, url, checksum }: Download): Promise<{ size: number; validator: string }> {
  try {
    const note = JSON.parse(await readFile(`${target}.part.json`, 'utf8')) as Partial<PartNote>
    if (note.url !== url || note.checksum !== checksum || !note.validator) return { size: 0, validator: '' }
    return { size: (await stat(`${target}.part`)).size, validator: note.validator }
  } catch {
    return { size: 0, validator: '' }
  }
}

/** A weak ETag does not promise the same bytes (RFC 9110, 8.8.1). */
function validatorOf(response: Response): string {
  const tag = response.headers.get('etag')
  return tag && !tag.startsWith('W/') ? tag : response.headers.get('last-modified') ?? ''
}

async function writeBody(response: Response, file: FileHandle, at: number, alive: () => void, onBytes: (received: number) => void): Promise<void> {
  if (!response.body) throw new Trouble(phrase('download.noBody'))
  let position = at
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    alive()
    for (let at = 0; at < chunk.length;) {
      const { bytesWritten } = await file.write(chunk, at, chunk.length - at, position)
      at += bytesWritten
      position += bytesWritten
    }
    onBytes(position)
  }
  await file.sync()
}

/** One try: asks for what is missing, or for all where the server cannot give a part. */
async function attempt(download: Download): Promise<void> {
  const { url, target, signal, onProgress } = download
  const { size, validator } = await partialSize(download)
  const headers: Record<string, string> = size > 0 ? { range: `bytes=${size}-`, 'if-range': validator } : {}
  const { response, alive, done } = await request(url, headers, signal)
  try {
    // 416: the part is whole already, or longer than the file; the checksum tells.
    if (response.status === 416 && size > 0) return
    if (!response.ok) throw refusal(response)
    const start = response.status === 206 ? size : 0
    if (response.status === 206 && !response.headers.get('content-range')?.startsWith(`bytes ${size}-`)) throw new Refused(phrase('download.otherPart'))
    const length = response.headers.get('content-length')
    const total = length === null ? undefined : start + Number(length)
    await save(download, start, validatorOf(response), (file) => writeBody(response, file, start, alive, (received) => onProgress(received, total)))
    if (total !== undefined && (await stat(`${target}.part`)).size < total) throw new Trouble(phrase('download.endedEarly'))
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOSPC' || code === 'EFBIG' || code === 'EROFS' || code === 'EACCES' || code === 'EDQUOT') throw writeError(error, target)
    throw error
  } finally {
    done()
  }
}

async function save({ target, url, checksum }: Download, start: number, validator: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(`${target}.part`, start > 0 ? 'r+' : 'w')
  try {
    const note: PartNote = { url, checksum, validator }
    await writeFile(`${target}.part.json`, JSON.stringify(note))
    await write(file)
  } finally {
    await file.close()
  }
}

/** Hexadecimal checksum of a file. */
export async function hashFile(path: string, algorithm: Algorithm, signal?: AbortSignal): Promise<string> {
  const hash = createHash(algorithm)
  for await (const chunk of createReadStream(path, signal ? { signal } : {})) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** @throws ServiceError download-failed, checksum-mismatch, disk-full, library-read-only; AbortError */
export async function downloadFile(download: Download): Promise<void> {
  const { url, target, algorithm, checksum, signal } = download
  await makeFolder(dirname(target))
  await retrying(url, signal, () => attempt(download))
  const actual = await hashFile(`${target}.part`, algorithm, signal)
  if (actual !== checksum.toLowerCase()) {
    await rm(`${target}.part`, { force: true })
    throw new ServiceError('checksum-mismatch', phrase('download.wrongSum', { url, algorithm, actual, expected: checksum }), { url, actual, expected: checksum })
  }
  await rename(`${target}.part`, target)
  await rm(`${target}.part.json`, { force: true })
  await syncFolder(dirname(target))
}

/**
 * The checksum of one file in a list as `sha256sum` writes them.
 * @returns undefined where the list does not name the file
 */
export function findChecksum(list: string, path: string, algorithm: Algorithm): string | undefined {
  const length = algorithm === 'sha256' ? 64 : 128
  for (const line of list.split('\n')) {
    const match = /^([0-9a-f]+) [ *](?:\.\/)?(.+?)\s*$/i.exec(line)
    if (match && match[1].length === length && match[2] === path) return match[1].toLowerCase()
  }
  return undefined
}

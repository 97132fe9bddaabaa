/** Asks apt for packages without being root: downloads go to a folder of ours, and so do package lists where the system has none. */
import { readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { phrase, type PhraseValue } from '../../../preload/contract'
import { messageOf, ServiceError } from '../errors'
import { makeFolder } from '../files'
import { execute } from '../programs'

const POLL_MS = 200

export class Apt {
  private privateLists = false

  /** @param work folder for downloads, and for package lists where the system's know too little */
  constructor(private readonly work: string, private readonly signal: AbortSignal) {}

  private options(): string[] {
    // apt would otherwise switch to a user that may not write our folder.
    const common = ['-o', 'APT::Sandbox::User=', '-o', 'APT::Architecture=amd64']
    if (!this.privateLists) return common
    const state = join(this.work, 'apt')
    return [...common, '-o', `Dir::State=${state}`, '-o', `Dir::State::lists=${join(state, 'lists')}`, '-o', `Dir::State::status=${join(state, 'status')}`, '-o', `Dir::Cache=${join(state, 'cache')}`]
  }

  /** Fetches package lists into our own folder. */
  async updateLists(): Promise<void> {
    for (const dir of ['lists/partial', 'cache/archives/partial']) await makeFolder(join(this.work, 'apt', dir))
    this.privateLists = true
    await writeFile(join(this.work, 'apt', 'status'), '')
    await this.run('apt-get', ['update', '-qq'], phrase('starter.lists'))
  }

  private async run(command: string, args: readonly string[], what: PhraseValue, cwd?: string): Promise<string> {
    try {
      return (await execute(command, [...this.options(), ...args], { signal: this.signal, ...(cwd ? { cwd } : {}) })).toString()
    } catch (error) {
      if (this.signal.aborted) throw error
      if (/no space left|enospc/i.test(messageOf(error))) throw new ServiceError('disk-full', phrase('starter.noRoom', { folder: this.work, detail: messageOf(error) }))
      throw new ServiceError('download-failed', phrase('starter.aptFailed', { what, detail: messageOf(error) }))
    }
  }

  /** The package that `meta` stands for now, such as `linux-image-6.1.0-38-cloud-amd64`. */
  async dependency(meta: string, pattern: RegExp): Promise<string | undefined> {
    const listing = await this.run('apt-cache', ['depends', '--', meta], 'apt-cache').catch(() => {
      this.signal.throwIfAborted()
      return ''
    })
    return pattern.exec(listing)?.[1]
  }

  async knows(name: string): Promise<boolean> {
    const listing = await this.run('apt-cache', ['show', '--', name], 'apt-cache').catch(() => {
      this.signal.throwIfAborted()
      return ''
    })
    return listing.includes('Package:')
  }

  /** Downloads a package. apt checks its signature and hash. @returns path of the .deb */
  async download(name: string, onProgress: (fraction: number | undefined) => void): Promise<string> {
    const dir = join(this.work, `deb-${name}`)
    await makeFolder(dir)
    const uris = await this.run('apt-get', ['download', '-qq', '--print-uris', name], phrase('starter.notOffered', { name }), dir)
    const size = Number(/'\S+' \S+ (\d+)/.exec(uris)?.[1] ?? 0)
    const timer = setInterval(() => void bytesIn(dir).then((bytes) => onProgress(size > 0 ? Math.min(1, bytes / size) : undefined)), POLL_MS)
    try {
      await this.run('apt-get', ['download', '-qq', name], phrase('starter.notDownloaded', { name }), dir)
    } finally {
      clearInterval(timer)
    }
    const file = (await readdir(dir)).find((entry) => entry.endsWith('.deb'))
    if (!file) throw new ServiceError('download-failed', phrase('starter.noPackage', { name }))
    return join(dir, file)
  }
}

async function bytesIn(dir: string): Promise<number> {
  let total = 0
  for (const name of await readdir(dir).catch(() => [])) total += await stat(join(dir, name)).then((s) => (s.isFile() ? s.size : 0), () => 0)
  return total
}

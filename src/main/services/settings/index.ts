/** The preferences, in `settings.json` of the library: written whole, read leniently, told to every client. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DEFAULT_PREFERENCES, preferences, type Preferences } from '../../../preload/contract'
import { writeError } from '../errors'
import { writeAtomic } from '../files'
import type { Stop } from '../types'

const VERSION = 1

/** Whatever the file held: each value that is not valid is replaced by its default, so that one bad line costs one choice. */
export function readPreferences(stored: unknown): Preferences {
  const values = (typeof stored === 'object' && stored !== null ? stored : {}) as Record<string, unknown>
  const valid = Object.entries(preferences.shape).flatMap(([key, schema]) => {
    const parsed = schema.safeParse(values[key])
    return parsed.success ? [[key, parsed.data]] : []
  })
  return { ...DEFAULT_PREFERENCES, ...(Object.fromEntries(valid) as Partial<Preferences>) }
}

export class Settings {
  private current: Promise<Preferences> | undefined
  private writing: Promise<unknown> = Promise.resolve()
  private readonly listeners = new Set<(value: Preferences) => void>()
  private readonly path: string

  /** @param home the library's folder */
  constructor(home: string) {
    this.path = join(home, 'settings.json')
  }

  get(): Promise<Preferences> {
    this.current ??= readFile(this.path, 'utf8').then((text) => readPreferences(JSON.parse(text) as unknown), () => DEFAULT_PREFERENCES)
      .catch(() => DEFAULT_PREFERENCES)
    return this.current
  }

  /** One change after the other, so that two windows do not lose each other's. @throws ServiceError disk-full, library-read-only */
  set(changes: Partial<Preferences>): Promise<Preferences> {
    const work = this.writing.then(async () => {
      const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined)) as Partial<Preferences>
      const next = { ...await this.get(), ...given }
      await writeAtomic(this.path, `${JSON.stringify({ version: VERSION, ...next }, null, 2)}\n`).catch((error: unknown) => {
        throw writeError(error, this.path)
      })
      this.current = Promise.resolve(next)
      for (const listener of this.listeners) listener(next)
      return next
    })
    this.writing = work.catch(() => undefined)
    return work
  }

  onDidChange(listener: (value: Preferences) => void): Stop {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
}

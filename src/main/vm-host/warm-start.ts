/** Gives a machine the translations of earlier runs, and keeps those it made. Both are a courtesy: a failure costs only speed. */
import { spawn } from 'node:child_process'
import type { KeptTranslations, Machine } from '../vmm/machine'
import { detailOf, reasonOf, type Note } from './note'
import { TranslationStore, type Guest } from './translation-store'

/** How much larger a pack must have become since this machine's last snapshot. */
const WORTH_KEEPING_AGAIN = 1.03

export interface WarmStartOptions {
  /** Where translations are kept; undefined: nowhere. */
  readonly folder: string | undefined
  /** This program's own file. */
  readonly program: string
  /** The bundle of `pack-compiler.ts`; undefined where the build has none for this program. */
  readonly compiler: string | undefined
  readonly guest: Guest
  readonly warn: Note
}

export class WarmStart {
  private keptBytes = 0
  /** What is in the store was not compiled ahead yet. */
  private uncompiled = false

  private constructor(private readonly store: TranslationStore, private readonly folder: string, private readonly options: WarmStartOptions) {}

  static open(options: WarmStartOptions): WarmStart | undefined {
    const { folder, program, warn } = options
    if (folder === undefined) return undefined
    try {
      return new WarmStart(new TranslationStore(folder, program), folder, options)
    } catch (error) {
      warn(`translations are not kept in ${folder}: ${reasonOf(error)}`, { reason: 'translationsNotKeptIn', folder, ...detailOf(error) })
      return undefined
    }
  }

  load(): { readonly translations?: KeptTranslations } {
    const translations = this.store.load(this.options.guest)
    this.uncompiled = translations !== undefined && !translations.compiled
    return translations ? { translations } : {}
  }

  /** At the machine's end. */
  save(machine: Machine): void {
    const pack = machine.translations()
    try {
      if (pack) this.store.save(this.options.guest, pack)
      if (pack !== undefined || this.uncompiled) this.compile()
    } catch (error) {
      this.notKept(error)
    }
  }

  /** While the machine runs: who goes on from its state has its translations. Only the gathering of them takes its thread's time. */
  async saveAside(machine: Machine): Promise<void> {
    const pack = machine.translations()
    if (!pack || pack.length < this.keptBytes * WORTH_KEEPING_AGAIN) return
    this.keptBytes = pack.length
    try {
      await this.store.saveAside(this.options.guest, pack)
      this.compile()
    } catch (error) {
      this.notKept(error)
    }
  }

  /** Has what is in the store compiled by a process of its own, which may outlive this one. */
  private compile(): void {
    const { compiler, program, guest } = this.options
    if (compiler === undefined) return
    const child = spawn(process.execPath, [...process.execArgv, compiler, this.folder, program, JSON.stringify(guest)], {
      detached: true, windowsHide: true, stdio: 'ignore', env: { ...process.env, ELECTRON_RUN_AS_NODE: '1' },
    })
    child.on('error', (error) => this.notKept(error))
    child.unref()
  }

  private notKept(error: unknown): void {
    this.options.warn(`translations were not kept: ${reasonOf(error)}`, { reason: 'translationsNotKept', ...detailOf(error) })
  }
}

/** Gives a machine the translations of earlier runs, and keeps those it made. Both are a courtesy: a failure costs only speed. */
import type { Machine } from '../vmm/machine'
import { TranslationStore, type Guest } from './translation-store'

/** How much larger a pack must have become since this machine's last snapshot. */
const WORTH_KEEPING_AGAIN = 1.03

export class WarmStart {
  private keptBytes = 0

  private constructor(private readonly store: TranslationStore, private readonly guest: Guest, private readonly warn: (text: string) => void) {}

  /** @param folder undefined: nothing is kept @param program this program's own file */
  static open(folder: string | undefined, program: string, guest: Guest, warn: (text: string) => void): WarmStart | undefined {
    if (folder === undefined) return undefined
    try {
      return new WarmStart(new TranslationStore(folder, program), guest, warn)
    } catch (error) {
      warn(`translations are not kept in ${folder}: ${reasonOf(error)}`)
      return undefined
    }
  }

  load(): { readonly translations?: Uint8Array } {
    const translations = this.store.load(this.guest)
    return translations ? { translations } : {}
  }

  save(machine: Machine): void {
    const pack = machine.translations()
    if (!pack) return
    try {
      this.store.save(this.guest, pack)
    } catch (error) {
      this.notKept(error)
    }
  }

  /** While the machine runs: who goes on from its state has its translations. Only the gathering of them takes its thread's time. */
  async saveAside(machine: Machine): Promise<void> {
    const pack = machine.translations()
    if (!pack || pack.length < this.keptBytes * WORTH_KEEPING_AGAIN) return
    this.keptBytes = pack.length
    await this.store.saveAside(this.guest, pack).catch((error: unknown) => this.notKept(error))
  }

  private notKept(error: unknown): void {
    this.warn(`translations were not kept: ${reasonOf(error)}`)
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

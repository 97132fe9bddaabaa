/** Gives a machine the translations of earlier runs, and keeps those it made. Both are a courtesy: a failure costs only speed. */
import type { Machine } from '../vmm/machine'
import { TranslationStore, type Guest } from './translation-store'

export class WarmStart {
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
      this.warn(`translations were not kept: ${reasonOf(error)}`)
    }
  }
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

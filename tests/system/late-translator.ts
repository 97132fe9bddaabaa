/** Translation as on another thread: asked for now, done on what memory holds a little later, put into use later still. */
import type { CodeCache } from '../../src/main/vmm/cpu/dbt/code-cache'
import { buildMerged, translateAndCompile, type TranslationJob, type TranslationThread } from '../../src/main/vmm/cpu/dbt/translation-job'
import { decodeJob, decodeResult, encodeJob, encodeResult, type ResultMessage } from '../../src/main/vmm/cpu/dbt/translation-message'
import { decodePack, encodePack } from '../../src/main/vmm/cpu/dbt/translation-pack'
import type { TranslatedFunction } from '../../src/main/vmm/cpu/dbt/translator'
import type { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'

interface Merge { readonly pack: Uint8Array; readonly done: (module: unknown) => void; module?: unknown }

export interface LateTranslatorOptions {
  /** Steps after which the thread dies with what it was asked. */
  readonly lifetime?: number
  /** It dies of the first module it is to make of others. */
  readonly diesMerging?: boolean
  /** Steps after which functions of many modules are put into one, each time. */
  readonly mergeEvery?: number
}

export class LateTranslator implements TranslationThread {
  private job: TranslationJob | undefined
  private answer: ResultMessage | undefined
  private merging: Merge | undefined
  private steps = 0
  private mergeDue = false
  /** Modules made. */
  answered = 0
  /** Modules that took the place of others. */
  merged = 0
  alive = true
  readonly resting = false
  readonly unhurried = true

  constructor(private readonly options: LateTranslatorOptions = {}) {}

  get busy(): boolean {
    return this.job !== undefined || this.answer !== undefined || this.merging !== undefined
  }

  request(job: TranslationJob): void {
    // As a message would be: nothing of it is shared but the machine's memory.
    this.job = decodeJob(encodeJob(job))
  }

  merge(functions: readonly TranslatedFunction[], done: (module: unknown) => void): void {
    this.merging = { pack: encodePack(functions), done }
  }

  /** A step of the other thread, between two slices. */
  advance({ translations }: Vcpu): void {
    if (!translations) return
    if (this.steps++ === this.options.lifetime || (this.merging && this.options.diesMerging)) this.die(translations)
    if (this.alive) this.work(translations)
    if (this.steps % (this.options.mergeEvery ?? Infinity) === 0) this.mergeDue = true
    if (!this.mergeDue || (this.alive && this.busy)) return
    translations.merge(() => undefined, true)
    // Until there are modules enough.
    this.mergeDue = this.alive && !this.merging
  }

  private work(translations: CodeCache): void {
    const { translator, wasm } = translations.options
    if (this.job) {
      this.answer = encodeResult(translateAndCompile(translator, this.job, (bytes) => wasm.compile(bytes), () => 0))
      this.job = undefined
    } else if (this.answer) {
      const answer = this.answer
      this.answer = undefined
      this.answered++
      translations.use(decodeResult(answer))
    } else if (this.merging && !this.merging.module) {
      this.merging.module = wasm.compile(buildMerged(translator, decodePack(this.merging.pack)))
    } else if (this.merging) {
      const { done, module } = this.merging
      this.merging = undefined
      this.merged++
      done(module)
    }
  }

  private die(translations: CodeCache): void {
    const { merging } = this
    this.alive = false
    if (this.job) translations.requeue(this.job)
    this.job = this.answer = this.merging = undefined
    merging?.done(undefined)
  }
}

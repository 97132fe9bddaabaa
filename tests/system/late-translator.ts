/** Translation as on another thread: asked for now, done on what memory holds a little later, put into use later still. */
import type { CodeCache, TranslationThread } from '../../src/main/vmm/cpu/dbt/code-cache'
import { translateAndCompile, type TranslationJob } from '../../src/main/vmm/cpu/dbt/translation-job'
import { decodeJob, decodeResult, encodeJob, encodeResult, type ResultMessage } from '../../src/main/vmm/cpu/dbt/translation-message'
import type { Vcpu } from '../../src/main/vmm/cpu/core/vcpu'

export class LateTranslator implements TranslationThread {
  private job: TranslationJob | undefined
  private answer: ResultMessage | undefined
  alive = true

  /** @param lifetime steps after which the thread dies with what it was asked */
  constructor(private lifetime = Infinity) {}

  get busy(): boolean {
    return this.job !== undefined || this.answer !== undefined
  }

  request(job: TranslationJob): void {
    // As a message would be: nothing of it is shared but the machine's memory.
    this.job = decodeJob(encodeJob(job))
  }

  /** A step of the other thread, between two slices. */
  advance({ translations }: Vcpu): void {
    if (!translations) return
    if (this.lifetime-- === 0) return this.die(translations)
    const { translator, wasm } = translations.options
    if (this.job) {
      this.answer = encodeResult(translateAndCompile(translator, this.job, (bytes) => wasm.compile(bytes), () => 0))
      this.job = undefined
    } else if (this.answer) {
      const answer = this.answer
      this.answer = undefined
      translations.use(decodeResult(answer))
    }
  }

  private die(translations: CodeCache): void {
    this.alive = false
    if (this.job) translations.requeue(this.job)
    this.job = this.answer = undefined
  }
}

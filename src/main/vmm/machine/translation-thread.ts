/** Both ends of the thread that translates while the guest runs: what the machine asks with, and what answers. */
import { createCpuModel } from '../cpu/cpuid'
import type { TranslationThread } from '../cpu/dbt/code-cache'
import { translateAndCompile, type CompiledResult, type TranslationJob } from '../cpu/dbt/translation-job'
import { decodeJob, decodeResult, encodeJob, encodeResult, type JobMessage, type ResultMessage } from '../cpu/dbt/translation-message'
import { Translator } from '../cpu/dbt/translator'
import { createDecoder } from '../cpu/decode/decode'
import { numberHandlers } from '../cpu/interp/builder'
import { loadInterpreter, type InterpreterPlan } from '../cpu/interp/prebuilt'
import { isaRows } from '../cpu/isa'
import type { BackgroundThread, HostClock, WasmEngine } from '../ports'
import { TSC_KHZ } from './board'

/** What the thread must know of the machine: its first message. */
export interface TranslationSetup {
  readonly memory: SharedArrayBuffer
  readonly cpuProfile: string
  readonly hotLoopAfter: number
  readonly plan: InterpreterPlan
}

/** The machine's CPU model: both ends must decode alike. */
export const cpuModelOf = (profile: string): ReturnType<typeof createCpuModel> => createCpuModel(profile, { tscKHz: TSC_KHZ, apicId: 0, cpuCount: 1 })

/** The machine's end. */
export class BackgroundTranslator implements TranslationThread {
  private pending: TranslationJob | undefined
  private lost = false

  /** @param use of a result @param giveUp the thread is gone: what it was asked last must be done otherwise */
  constructor(private readonly thread: BackgroundThread, setup: TranslationSetup, use: (result: CompiledResult) => void, giveUp: (job: TranslationJob | undefined, reason: string) => void) {
    thread.onMessage((reply) => {
      this.pending = undefined
      use(decodeResult(reply as ResultMessage))
    })
    thread.onLost((reason) => {
      this.lost = true
      giveUp(this.pending, reason)
      this.pending = undefined
    })
    thread.post(setup)
  }

  get alive(): boolean {
    return !this.lost
  }

  get busy(): boolean {
    return this.pending !== undefined
  }

  request(job: TranslationJob): void {
    this.pending = job
    this.thread.post(encodeJob(job))
  }
}

/**
 * The thread's end.
 * @returns what answers a message; undefined for the first one, which needs no answer
 * @throws Error where the interpreter's plan is of another program
 */
export function serveTranslations(wasm: Pick<WasmEngine, 'compile'>, clock: Pick<HostClock, 'monotonicNs'>): (message: unknown) => ResultMessage | undefined {
  let translator: Translator | undefined
  return (message) => {
    if (!translator) {
      translator = createTranslator(message as TranslationSetup)
      return undefined
    }
    return encodeResult(translateAndCompile(translator, decodeJob(message as JobMessage), (bytes) => wasm.compile(bytes), () => clock.monotonicNs()))
  }
}

function createTranslator({ memory, cpuProfile, hotLoopAfter, plan }: TranslationSetup): Translator {
  const handlers = numberHandlers(isaRows)
  const interpreter = loadInterpreter(isaRows, { plan, bytes: new Uint8Array(0) }, handlers)
  if (!interpreter) throw new Error('the interpreter belongs to another build')
  const model = cpuModelOf(cpuProfile)
  return new Translator({
    bytes: new Uint8Array(memory), decode: createDecoder(isaRows, (feature) => model.has(feature)),
    places: (form) => handlers.of(form).places, calls: interpreter.calls, hotLoopAfter,
  })
}

/** Both ends of the thread that translates while the guest runs: what the machine asks with, and what answers. */
import { createCpuModel } from '../cpu/cpuid'
import { CPU_PROFILES } from '../cpu/cpuid/profiles'
import { buildMerged, translateAndCompile, type CompiledResult, type TranslationJob, type TranslationThread } from '../cpu/dbt/translation-job'
import { decodeJob, decodeResult, encodeJob, encodeResult, isMerge, type JobMessage, type MergeMessage, type ResultMessage } from '../cpu/dbt/translation-message'
import { translateKept } from '../cpu/dbt/kept-code'
import { LOOP_PAGES_AT } from '../cpu/dbt/loop-pages'
import { decodePack, encodePack, loopsOfPack } from '../cpu/dbt/translation-pack'
import { Translator, type TranslatedFunction } from '../cpu/dbt/translator'
import { createDecoder } from '../cpu/decode/decode'
import { loadInterpreter, type InterpreterPlan } from '../cpu/interp/prebuilt'
import { isaRows } from '../cpu/isa'
import type { BackgroundThread, HostClock } from '../ports'
import { PAGE_SIZE } from '../memory/frame-table'
import { TSC_KHZ } from './board'

/** Jumps back by one branch before its loop becomes a region of tier 2. */
export const HOT_LOOP_AFTER = 3000

/** What the thread must know of the machine: its first message. */
export interface TranslationSetup {
  readonly memory: SharedArrayBuffer
  readonly cpuProfile: string
  readonly hotLoopAfter: number
  readonly plan: InterpreterPlan
}

/** The machine's CPU model: both ends must decode alike. */
export const cpuModelOf = (profile: string): ReturnType<typeof createCpuModel> => createCpuModel(profile, { tscKHz: TSC_KHZ, apicId: 0, cpuCount: 1 })

/** The machine's end. The thread is started for a job, and ended while there is none for long. */
export class BackgroundTranslator implements TranslationThread {
  private pending: TranslationJob | undefined
  private merged: ((module: unknown) => void) | undefined
  private started = false
  private lost = false

  /** @param use of a result @param giveUp the thread is gone: what it was asked last must be done otherwise */
  constructor(private readonly thread: BackgroundThread, private readonly setup: TranslationSetup, private readonly use: (result: CompiledResult) => void, giveUp: (job: TranslationJob | undefined, reason: string) => void) {
    thread.onMessage((reply) => this.receive(reply))
    thread.onLost((reason) => {
      const { pending, merged } = this
      this.lost = true
      this.pending = this.merged = undefined
      giveUp(pending, reason)
      merged?.(undefined)
    })
    // The guest will need it soon, and it takes a while to start.
    this.start()
  }

  private start(): void {
    if (this.started) return
    this.started = true
    this.thread.post(this.setup)
  }

  private receive(reply: unknown): void {
    const { merged } = this
    this.pending = this.merged = undefined
    if (merged) merged(reply)
    else this.use(decodeResult(reply as ResultMessage))
  }

  get alive(): boolean {
    return !this.lost
  }

  get busy(): boolean {
    return this.pending !== undefined || this.merged !== undefined
  }

  get unhurried(): boolean {
    return this.thread.unhurried
  }

  get resting(): boolean {
    return !this.started
  }

  request(job: TranslationJob): void {
    this.start()
    this.pending = job
    this.thread.post(encodeJob(job))
  }

  merge(functions: readonly TranslatedFunction[], done: (module: unknown) => void): void {
    this.start()
    this.merged = done
    this.thread.post({ functions: encodePack(functions) } satisfies MergeMessage)
  }

  /** Ends the thread until there is work again, unless it works. Resolves with true when it is gone, with false where it did not run or works. */
  async rest(): Promise<boolean> {
    if (this.busy || this.lost || !this.started) return false
    this.started = false
    await this.thread.end()
    return true
  }
}

/** What compiles on the thread. */
export interface ThreadCompiler {
  /** Every function at once. */
  compile(bytes: Uint8Array): unknown
  /** Every function at once, with the optimising compiler. */
  optimise(bytes: Uint8Array): unknown
}

/**
 * The thread's end.
 * @returns what answers a message; undefined for the first one, which needs no answer
 * @throws Error where the interpreter's plan is of another program
 */
export function serveTranslations(wasm: ThreadCompiler, clock: Pick<HostClock, 'monotonicNs'>): (message: unknown) => unknown {
  let translator: Translator | undefined
  return (message) => {
    if (!translator) {
      translator = createTranslator(message as TranslationSetup)
      return undefined
    }
    if (isMerge(message)) return wasm.optimise(buildMerged(translator, decodePack(message.functions)))
    return encodeResult(translateAndCompile(translator, decodeJob(message as JobMessage), (bytes) => wasm.compile(bytes), () => clock.monotonicNs()))
  }
}

/**
 * The wasm module with all functions of a pack, as a machine that loads the pack makes it.
 * @throws Error where the interpreter's plan is of another program
 * @throws VmmError `bad-state` where it is no pack
 */
export function packModule(pack: Uint8Array, plan: InterpreterPlan): Uint8Array {
  const translator = createTranslator({ memory: new SharedArrayBuffer(0), cpuProfile: CPU_PROFILES[0].name, hotLoopAfter: 0, plan })
  return buildMerged(translator, decodePack(pack).filter((fn) => fn.isTranslated))
}

/**
 * The pack with translations of the blocks and loops that its machines found no time for; undefined where it has none of them.
 * @throws as `packModule`
 */
export function completePack(pack: Uint8Array, plan: InterpreterPlan, cpuProfile: string): Uint8Array | undefined {
  const kept = decodePack(pack)
  const loops = loopsOfPack(pack)
  if (kept.every((fn) => fn.isTranslated) && loops.length === 0) return undefined
  const memory = new SharedArrayBuffer(LOOP_PAGES_AT + loops.length * PAGE_SIZE)
  return encodePack(translateKept(createTranslator({ memory, cpuProfile, hotLoopAfter: HOT_LOOP_AFTER, plan }), kept, loops))
}

function createTranslator({ memory, cpuProfile, hotLoopAfter, plan }: TranslationSetup): Translator {
  const interpreter = loadInterpreter(isaRows, { plan, bytes: new Uint8Array(0) })
  if (!interpreter) throw new Error('the interpreter belongs to another build')
  const model = cpuModelOf(cpuProfile)
  return new Translator({
    bytes: new Uint8Array(memory), decode: createDecoder(isaRows, (feature) => model.has(feature)),
    places: (form) => interpreter.handlers.of(form).places, calls: interpreter.calls, hotLoopAfter,
  })
}

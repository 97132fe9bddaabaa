/** From counters since power-on to rates per second: the arithmetic behind the small charts. */

/** Counters of one machine at one moment. */
export interface FigureCounters {
  /** Milliseconds, any origin, monotonic. */
  readonly timeMs: number
  readonly instructions: number
  /** Nanoseconds the guest's code ran. */
  readonly guestRunNs: number
  readonly interrupts: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly exits: Readonly<Record<string, number>>
  readonly residentGuestBytes: number
  /** Resident memory of the machine's process; 0 when unknown. */
  readonly processBytes: number
  /** CPU time of the machine's process; 0 where the host cannot say. */
  readonly processCpuSeconds: number
  /** Mnemonics that raised #UD because they are not implemented, with counts. */
  readonly unimplemented: Readonly<Record<string, number>>
  readonly idleNs?: number
  /** Time by tier, privilege level and CPU mode; what is absent is not counted. */
  readonly tierNs?: Readonly<Record<string, number>>
  readonly ringNs?: Readonly<Record<string, number>>
  readonly modeNs?: Readonly<Record<string, number>>
  readonly exceptions?: number
  readonly tlbMisses?: number
  readonly blocksDecoded?: number
  readonly codeInvalidations?: number
  readonly translations?: {
    readonly blocks: number
    readonly regions: number
    readonly modules: number
    readonly wasmBytes: number
    readonly translateNs: number
    readonly compileNs: number
    /** Blocks that began with a translation of an earlier run. */
    readonly adopted: number
  }
}

export interface FigureSample {
  readonly cpuShare: number
  readonly mips: number
  readonly guestBytes: number
  readonly processBytes: number
  readonly readRate: number
  readonly writeRate: number
  readonly interruptRate: number
  readonly exitRates: Readonly<Record<string, number>>
  /** Most frequent first. */
  readonly unimplemented: readonly string[]
}

/** How many samples a chart shows. */
export const SERIES_LENGTH = 90

/** A rate from two readings; a counter that went back (the machine was started anew) counts from zero. */
const rate = (now: number, before: number, seconds: number): number => (now >= before ? now - before : now) / seconds

/** @returns undefined when the readings are too close together to say anything */
export function sampleBetween(before: FigureCounters, now: FigureCounters): FigureSample | undefined {
  const seconds = (now.timeMs - before.timeMs) / 1000
  if (seconds < 0.05) return undefined
  const guestShare = rate(now.guestRunNs, before.guestRunNs, seconds) / 1e9
  const perSecond = rate(now.instructions, before.instructions, seconds)
  return {
    cpuShare: Math.min(1, now.processCpuSeconds > 0 ? rate(now.processCpuSeconds, before.processCpuSeconds, seconds) : guestShare),
    // Speed while the guest's code ran; an idle guest is not a slow guest.
    mips: guestShare > 0.001 ? perSecond / guestShare / 1e6 : 0,
    guestBytes: now.residentGuestBytes,
    processBytes: now.processBytes,
    readRate: rate(now.readBytes, before.readBytes, seconds),
    writeRate: rate(now.writtenBytes, before.writtenBytes, seconds),
    interruptRate: rate(now.interrupts, before.interrupts, seconds),
    unimplemented: Object.entries(now.unimplemented).sort((a, b) => b[1] - a[1]).map(([name]) => name),
    exitRates: Object.fromEntries(Object.entries(now.exits).map(([reason, count]) => [reason, rate(count, before.exits[reason] ?? 0, seconds)])),
  }
}

/** Appends, keeping the newest `SERIES_LENGTH`. */
export function append(series: readonly FigureSample[], sample: FigureSample): FigureSample[] {
  return [...series.slice(-(SERIES_LENGTH - 1)), sample]
}

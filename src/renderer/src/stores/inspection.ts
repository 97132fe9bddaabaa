/** Where a machine's time goes, from two readings of its counters: plain functions behind the inspector. */
import type { FigureCounters } from './figure-series'

export interface Share {
  /** As the manager names it: `t0`, `ring3`, `long` … */
  readonly name: string
  /** 0…1 of the time between the readings. */
  readonly share: number
}

type Counts = Readonly<Record<string, number>>

/** A counter that went back (the machine was started anew) counts from zero. */
const grown = (now: number, before: number): number => (now >= before ? now - before : now)

/** Parts of the whole that the counters grew by; by name, so that rows keep their places. [] where nothing grew. */
export function sharesOf(now: Counts | undefined, before: Counts | undefined): Share[] {
  const parts = Object.entries(now ?? {}).map(([name, value]) => ({ name, value: grown(value, before?.[name] ?? 0) }))
  const whole = parts.reduce((sum, { value }) => sum + value, 0)
  if (whole <= 0) return []
  return parts.sort((a, b) => a.name.localeCompare(b.name)).map(({ name, value }) => ({ name, share: value / whole }))
}

/** Behind the tiers: what else takes the host's time, and rest. */
const LAST: ReadonlySet<string> = new Set(['host', 'idle'])

/** With the time in which the guest had nothing to do. */
export function tierShares(now: FigureCounters, before: FigureCounters): Share[] {
  const withIdle = ({ tierNs, idleNs }: FigureCounters): Counts => ({ ...tierNs, idle: idleNs ?? 0 })
  return sharesOf(withIdle(now), withIdle(before)).sort((a, b) => Number(LAST.has(a.name)) - Number(LAST.has(b.name)))
}

/** Per second; undefined where the manager does not count it. */
export function perSecond(now: FigureCounters, before: FigureCounters, name: 'exceptions' | 'tlbMisses' | 'blocksDecoded' | 'codeInvalidations' | 'interrupts'): number | undefined {
  const [a, b] = [before[name], now[name]]
  const seconds = (now.timeMs - before.timeMs) / 1000
  return a === undefined || b === undefined || seconds <= 0 ? undefined : grown(b, a) / seconds
}

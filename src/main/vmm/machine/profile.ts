/**
 * Where the guest's time goes, by sampling: tiers, rings, modes and the hottest code.
 *
 * A sample is taken about every SAMPLE_NS of running, at the least every LEAST_APART executed instructions, where a slice that
 * was cut for it ended. It counts for the host time since the sample before it. Ends for another reason (HLT, a device, an
 * interrupt) are no samples: they would always show the code that caused them. The place is the block head where the slice ended, so samples are even over
 * executed instructions, not over time; code slower per instruction than its neighbours in the same window is told too low.
 */
import type { CpuSpot } from '../cpu/core/types'
import { Mode } from '../cpu/state/mode'
import { PAGE_SIZE } from '../memory/frame-table'
import type { CpuModeName, OccupancyFigures } from './types'

/** Host time between samples: a hundred times what a sample costs with the end of its slice (decision 6, "Seeing inside"). */
const SAMPLE_NS = 400_000
/** Instructions between samples, at the least: slow code, that of devices and faults above all, is cut short otherwise. */
const LEAST_APART = 1 << 18
const MOST_APART = 1 << 22
/** Places remembered, of half a KiB each; with more, those seen least are forgotten. */
const MAX_PLACES = 1024
/** Bytes of code kept with a place. */
const CODE_BYTES = 64
const TIERS = ['t0', 't1', 't2'] as const
const RINGS = ['ring0', 'ring1', 'ring2', 'ring3'] as const

export interface ProfileOptions {
  readonly spot: () => CpuSpot
  /** Host nanoseconds that the guest's thread spent translating and compiling so far. */
  readonly translationNs: () => number
  /** Reads guest-physical memory. False: some of it is no RAM. */
  readonly read: (gpa: number, target: Uint8Array) => boolean
}

/** A block where samples fell. */
export interface HotPlace {
  /** Linear address. */
  readonly address: bigint
  readonly modeKey: number
  readonly mode: CpuModeName
  readonly cpl: number
  /** Tier at the newest sample. */
  readonly tier: 0 | 1 | 2
  readonly samples: number
  /** Host time its samples count for. */
  readonly ns: number
  /** Code as it was at the first sample, up to its page's end; empty where it was not in RAM. */
  readonly code: Uint8Array
  /** Guest frame that held it at the newest sample, -1 where it was not decoded. */
  readonly page: number
}

interface Place { readonly spot: CpuSpot; readonly code: Uint8Array; tier: 0 | 1 | 2; page: number; samples: number; ns: number }

/** The name of the mode that a mode key stands for. */
export function modeName(modeKey: number): CpuModeName {
  if ((modeKey & Mode.CODE64) !== 0) return 'long-64'
  const wide = (modeKey & Mode.CODE32) !== 0
  if ((modeKey & Mode.LONG) !== 0) return wide ? 'compatibility-32' : 'compatibility-16'
  if ((modeKey & Mode.PROTECTED) === 0) return 'real'
  if ((modeKey & Mode.V86) !== 0) return 'virtual-8086'
  return wide ? 'protected-32' : 'protected-16'
}

const toHotPlace = ({ spot, code, tier, page, samples, ns }: Place): HotPlace => ({
  address: (BigInt(spot.hi) << 32n) | BigInt(spot.lo), modeKey: spot.modeKey, mode: modeName(spot.modeKey), cpl: spot.cpl, tier, samples, ns, code, page,
})

export class GuestProfile {
  /** Instructions until the next sample is due; a slice should end there. */
  untilSample = LEAST_APART
  private samples = 0
  /** Instructions since the newest sample. */
  private executed = 0
  /** Host time and translation time since the newest sample. */
  private pendingNs = 0
  private translationSeen: number
  private random = 1
  private readonly tierNs = { t0: 0, t1: 0, t2: 0, host: 0 }
  private readonly ringNs = { ring0: 0, ring1: 0, ring2: 0, ring3: 0 }
  private readonly modeNs: Partial<Record<CpuModeName, number>> = {}
  private readonly places = new Map<string, Place>()

  constructor(private readonly options: ProfileOptions) {
    this.translationSeen = options.translationNs()
  }

  /**
   * The guest ran for `ns` of host time.
   * @param whole the slice was used up: where the CPU stands now was not the guest's choice
   */
  ran(ns: number, instructions: number, whole: boolean): void {
    this.pendingNs += ns
    this.executed += instructions
    this.untilSample -= instructions
    if (!whole || this.untilSample > 0) return
    this.untilSample = this.nextDistance()
    this.executed = 0
    this.take()
  }

  /** Instructions to the next sample, if they run as fast as those since the newest one. */
  private nextDistance(): number {
    const distance = Math.min(MOST_APART, Math.max(LEAST_APART, (this.executed / this.pendingNs) * SAMPLE_NS))
    // Not always the same: a loop of the guest might keep step with it.
    this.random = (Math.imul(this.random, 1664525) + 1013904223) | 0
    return Math.ceil(distance * (1 + this.random / 2 ** 34))
  }

  private take(): void {
    const translation = this.options.translationNs()
    const host = Math.min(this.pendingNs, translation - this.translationSeen)
    const ns = this.pendingNs - host
    this.translationSeen = translation
    this.pendingNs = 0
    this.samples++
    const spot = this.options.spot()
    const mode = modeName(spot.modeKey)
    this.tierNs.host += host
    this.tierNs[TIERS[spot.tier]] += ns
    this.ringNs[RINGS[spot.cpl & 3]] += ns
    this.modeNs[mode] = (this.modeNs[mode] ?? 0) + ns
    this.count(spot, ns)
  }

  private count(spot: CpuSpot, ns: number): void {
    const key = `${spot.hi} ${spot.lo} ${spot.modeKey}`
    let place = this.places.get(key)
    if (!place) {
      if (this.places.size >= MAX_PLACES) this.forgetRare()
      this.places.set(key, place = { spot, code: this.codeAt(spot), tier: spot.tier, page: spot.page, samples: 0, ns: 0 })
    }
    place.tier = spot.tier
    place.page = spot.page
    place.samples++
    place.ns += ns
  }

  /** The rarer half goes: what is hot stays exact, and what becomes hot later still finds room. */
  private forgetRare(): void {
    const byRarity = [...this.places].sort(([, a], [, b]) => a.samples - b.samples)
    for (const [key] of byRarity.slice(0, MAX_PLACES / 2)) this.places.delete(key)
  }

  private codeAt({ page, lo }: CpuSpot): Uint8Array {
    const offset = lo % PAGE_SIZE
    const code = new Uint8Array(page < 0 ? 0 : Math.min(CODE_BYTES, PAGE_SIZE - offset))
    return this.options.read(page * PAGE_SIZE + offset, code) ? code : new Uint8Array()
  }

  figures(): OccupancyFigures {
    return { tierNs: { ...this.tierNs }, ringNs: { ...this.ringNs }, modeNs: { ...this.modeNs }, samples: this.samples }
  }

  /** What is known of a place where samples fell. */
  placeAt(address: bigint, modeKey: number): HotPlace | undefined {
    const place = this.places.get(`${Number(address >> 32n)} ${Number(address & 0xffff_ffffn)} ${modeKey}`)
    return place && toHotPlace(place)
  }

  /** The places with the most time, most first. */
  hottest(count: number): HotPlace[] {
    const sorted = [...this.places.values()].sort((a, b) => b.ns - a.ns).slice(0, count)
    return sorted.map(toHotPlace)
  }
}

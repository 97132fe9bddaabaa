import { describe, expect, it } from 'vitest'
import type { CpuSpot } from '../cpu/core/types'
import { Mode } from '../cpu/state/mode'
import { GuestProfile, modeName } from './profile'

const LONG = Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.FLAT
const at = (lo: number, changes: Partial<CpuSpot> = {}): CpuSpot => ({ lo, hi: 0, modeKey: LONG, cpl: 0, tier: 1, page: 2, ...changes })

function profileOf(memory = new Uint8Array(4 * 4096)) {
  const guest = { spot: at(0), translationNs: 0 }
  const profile = new GuestProfile({
    spot: () => guest.spot, translationNs: () => guest.translationNs,
    read: (gpa, target) => {
      if (gpa + target.length > memory.length || gpa < 0) return false
      target.set(memory.subarray(gpa, gpa + target.length))
      return true
    },
  })
  return { profile, guest }
}

describe('the profile of a guest', () => {
  it('gives the time since the last sample to the place where a used-up slice ended', () => {
    const { profile, guest } = profileOf()
    guest.spot = at(0x2000, { tier: 2, cpl: 3, modeKey: LONG | Mode.USER })
    profile.ran(700, 1000, true)
    expect(profile.figures().samples).toBe(0)
    profile.ran(300, profile.untilSample, true)
    guest.spot = at(0x2100, { tier: 0, modeKey: Mode.PROTECTED | Mode.CODE32 })
    profile.ran(50, profile.untilSample, true)
    expect(profile.figures()).toEqual({
      tierNs: { t0: 50, t1: 0, t2: 1000, host: 0 }, ringNs: { ring0: 50, ring1: 0, ring2: 0, ring3: 1000 },
      modeNs: { 'long-64': 1000, 'protected-32': 50 }, samples: 2,
    })
  })

  it('takes no sample where the guest chose to stop', () => {
    const { profile } = profileOf()
    profile.ran(400, profile.untilSample + 10, false)
    expect(profile.figures().samples).toBe(0)
    profile.ran(100, 1, true)
    expect(profile.figures()).toMatchObject({ samples: 1, tierNs: { t1: 500 } })
  })

  it('takes samples by time where code is fast, and not more often than by so many instructions where it is slow', () => {
    const { profile } = profileOf()
    const distances = [0.0002, 0.1, 10].map((nsPerInstruction) => {
      profile.ran(profile.untilSample * nsPerInstruction, profile.untilSample, true)
      return profile.untilSample
    })
    const [most, fast, slow] = distances
    expect(most / (1 << 22)).toBeCloseTo(1, 0)
    expect(fast * 0.1 / 400_000).toBeCloseTo(1, 0)
    expect(slow / (1 << 18)).toBeCloseTo(1, 0)
    expect(fast).toBeGreaterThan(slow)
  })

  it('tells translating from running', () => {
    const { profile, guest } = profileOf()
    guest.translationNs = 300
    profile.ran(1000, profile.untilSample, true)
    expect(profile.figures()).toMatchObject({ tierNs: { t1: 700, host: 300 }, ringNs: { ring0: 700 } })
  })

  it('lists the hottest places with their code, up to the end of the page', () => {
    const memory = new Uint8Array(4 * 4096)
    memory.set([0x90, 0xc3], 2 * 4096 + 0xffe)
    const { profile, guest } = profileOf(memory)
    for (const [spot, ns] of [[at(0xffe, { hi: 0xffff_ffff }), 10], [at(0x10, { page: -1 }), 1], [at(0xffe, { hi: 0xffff_ffff }), 10]] as const) {
      guest.spot = spot
      profile.ran(ns, profile.untilSample, true)
    }
    expect(profile.hottest(2)).toMatchObject([
      { address: 0xffff_ffff_0000_0ffen, mode: 'long-64', samples: 2, ns: 20, code: new Uint8Array([0x90, 0xc3]) },
      { address: 0x10n, samples: 1, code: new Uint8Array() },
    ])
    expect(profile.hottest(1)).toHaveLength(1)
  })

  it('remembers a bounded number of places, and what is hot among them', () => {
    const { profile, guest } = profileOf()
    for (let i = 0; i < 20_000; i++) {
      guest.spot = at(i % 4 === 0 ? 0x40 : 0x1000 + i)
      profile.ran(1, profile.untilSample, true)
    }
    expect(profile.hottest(1)[0]).toMatchObject({ address: 0x40n, samples: 5000 })
    expect(profile.hottest(100_000).length).toBeLessThanOrEqual(1024)
  })

  it('names modes', () => {
    expect([0, Mode.PROTECTED, Mode.PROTECTED | Mode.CODE32, Mode.PROTECTED | Mode.V86, LONG, Mode.PROTECTED | Mode.LONG | Mode.CODE32].map(modeName))
      .toEqual(['real', 'protected-16', 'protected-32', 'virtual-8086', 'long-64', 'compatibility-32'])
  })
})

/** PIT, RTC, HPET, ACPI timer and the machine's clock, against a clock moved by hand. */
import { describe, expect, it } from 'vitest'
import { PIT_HZ } from '../../src/main/vmm/timers/pit'
import { TimeStampCounter } from '../../src/main/vmm/timers/tsc'
import { MachineClock } from '../../src/main/vmm/timers/virtual-clock'
import { Bench, HPET } from './platform-bench'

const TICK = 1e9 / PIT_HZ
/** A bench whose IRQ line rises are counted at the I/O APIC. */
const counting = (pin: number): { bench: Bench; taken: () => number } => {
  const bench = new Bench()
  bench.setLapic(0xf0, 0x1ff)
  bench.setIoapic(0x10 + 2 * pin, 0x40)
  let count = 0
  const taken = (): number => {
    while (bench.interrupts.pendingVector() >= 0) {
      bench.interrupts.acknowledge()
      bench.setLapic(0xb0, 0)
      count++
    }
    return count
  }
  return { bench, taken }
}
const hpet = (bench: Bench, offset: number, value: number): void => bench.mmio.write(HPET + offset, 4, value)

describe('clock', () => {
  it('stands still while paused, and counts instructions in deterministic mode', () => {
    let host = 0
    const clock = new MachineClock({ monotonicNs: () => host, wallMs: () => 0 })
    clock.resume()
    host = 100
    clock.pause()
    host = 900
    expect(clock.nowNs()).toBe(100)
    clock.resume()
    host = 950
    expect(clock.nowNs()).toBe(150)
    let instructions = 0
    const counted = new MachineClock({ monotonicNs: () => host, wallMs: () => 0 }, () => instructions * 2)
    instructions = 50
    expect(counted.nowNs()).toBe(100)
  })
})

describe('all clocks', () => {
  it('agree with the host after an hour of uneven steps', () => {
    const bench = new Bench()
    hpet(bench, 0x10, 1)
    const start = bench.tsc.read()
    const hour = 3600e9
    let passed = 0
    for (let step = 1e6; passed < hour; step = step * 1.7 % 9e9 + 12_345.678) {
      const ns = Math.min(step, hour - passed)
      bench.time.jump(ns)
      passed += ns
    }
    expect(Math.abs(Number(bench.tsc.read() - start) - hour)).toBeLessThan(1e6)
    expect(Math.abs(bench.io.read(0x608, 4) - (3600 * 3_579_545) % 2 ** 32)).toBeLessThan(3580)
    const high = bench.mmio.read(HPET + 0xf4, 4)
    expect(Math.abs(high * 2 ** 32 + bench.mmio.read(HPET + 0xf0, 4) - hour / 10)).toBeLessThan(1e5)
    bench.out(0x70, 0)
    expect([0x57, 0x58]).toContain(bench.in(0x71))
  })

  it('the time-stamp counter never steps back, over a pause, a save and a host whose clock trembles', () => {
    let host = 5e9
    const make = (): { clock: MachineClock; tsc: TimeStampCounter } => {
      const clock = new MachineClock({ monotonicNs: () => host, wallMs: () => 0 })
      return { clock, tsc: new TimeStampCounter(clock, 1_000_000) }
    }
    let { clock, tsc } = make()
    clock.resume()
    tsc.write(1n << 40n)
    let latest = tsc.read()
    const check = (): void => {
      const now = tsc.read()
      expect(now).toBeGreaterThanOrEqual(latest)
      latest = now
    }
    for (let i = 0; i < 200; i++) {
      host += i % 7 === 0 ? -30 : 1000 * i
      check()
      if (i % 20 === 10) clock.pause()
      if (i % 20 === 15) clock.resume()
      if (i % 50 !== 49) continue
      const saved = { clock: clock.save(), tsc: tsc.save() }
      // Another process, whose clock began elsewhere.
      host = 1000 * i
      ;({ clock, tsc } = make())
      clock.restore(saved.clock)
      tsc.restore(saved.tsc)
      check()
      clock.resume()
    }
  })
})

describe('8254', () => {
  const load = (bench: Bench, control: number, count: number): void => {
    bench.out(0x43, control)
    bench.out(0x40, count & 0xff, count >> 8)
  }
  const latch = (bench: Bench): number => {
    bench.out(0x43, 0)
    return bench.in(0x40) | (bench.in(0x40) << 8)
  }

  it('mode 2 counts down and reloads, one edge a period', () => {
    const { bench, taken } = counting(2)
    load(bench, 0x34, 1000)
    taken()
    const before = taken()
    bench.time.advance(TICK * 250.5)
    expect(latch(bench)).toBe(750)
    bench.time.advance(TICK * 750)
    expect(taken() - before).toBe(1)
    for (let i = 0; i < 4; i++) {
      bench.time.advance(TICK * 1000)
      taken()
    }
    expect(taken() - before).toBe(5)
  })

  it('mode 3 counts by two', () => {
    const bench = new Bench()
    load(bench, 0x36, 1000)
    bench.time.advance(TICK * 100.5)
    expect(latch(bench)).toBe(800)
  })

  it('mode 0 raises the line once', () => {
    const { bench, taken } = counting(2)
    load(bench, 0x30, 500)
    const before = taken()
    bench.time.advance(TICK * 499)
    expect(taken() - before).toBe(0)
    bench.time.advance(TICK * 2)
    expect(taken() - before).toBe(1)
    bench.time.advance(TICK * 100_000)
    expect(taken() - before).toBe(1)
  })

  /** Channel 2, whose gate is bit 0 of port 0x61 and whose output bit 5. */
  const speaker = (bench: Bench, control: number, count: number): void => {
    bench.out(0x43, 0x80 | control)
    bench.out(0x42, count & 0xff, count >> 8)
  }
  const gate = (bench: Bench, up: boolean): void => bench.out(0x61, up ? 1 : 0)
  const output = (bench: Bench): boolean => (bench.in(0x61) & 0x20) !== 0
  const speakerCount = (bench: Bench): number => {
    bench.out(0x43, 0x80)
    return bench.in(0x42) | (bench.in(0x42) << 8)
  }

  it('mode 0 stands while the gate is low, and between the two bytes of a new count', () => {
    const bench = new Bench()
    speaker(bench, 0x30, 1000)
    bench.time.advance(TICK * 300.5)
    expect(speakerCount(bench)).toBe(1000)
    gate(bench, true)
    bench.time.advance(TICK * 300.5)
    expect(speakerCount(bench)).toBe(700)
    gate(bench, false)
    bench.time.advance(TICK * 5000)
    expect([speakerCount(bench), output(bench)]).toEqual([700, false])
    gate(bench, true)
    bench.time.advance(TICK * 700.2)
    expect(output(bench)).toBe(true)
    bench.out(0x42, 100)
    bench.time.advance(TICK * 5000)
    expect(output(bench)).toBe(false)
    bench.out(0x42, 0)
    bench.time.advance(TICK * 100.5)
    expect(output(bench)).toBe(true)
  })

  it('mode 1 is a pulse for each rising gate, and starts again where one comes within it', () => {
    const bench = new Bench()
    speaker(bench, 0x32, 100)
    bench.time.advance(TICK * 1000)
    expect(output(bench)).toBe(true)
    gate(bench, true)
    bench.time.advance(TICK * 60.5)
    expect(output(bench)).toBe(false)
    gate(bench, false)
    gate(bench, true)
    bench.time.advance(TICK * 60.5)
    expect([output(bench), speakerCount(bench)]).toEqual([false, 40])
    bench.time.advance(TICK * 40)
    expect(output(bench)).toBe(true)
  })

  it('modes 2 and 3 put out high while the gate is low and begin anew when it rises', () => {
    for (const control of [0x34, 0x36]) {
      const bench = new Bench()
      gate(bench, true)
      speaker(bench, control, 100)
      bench.time.advance(TICK * 99.5)
      expect(output(bench)).toBe(false)
      gate(bench, false)
      expect(output(bench)).toBe(true)
      gate(bench, true)
      bench.time.advance(TICK * 10.5)
      expect(speakerCount(bench)).toBe(control === 0x34 ? 90 : 80)
    }
  })

  it('modes 2 and 3 take a new count at the end of the period or half period', () => {
    const { bench, taken } = counting(2)
    load(bench, 0x34, 1000)
    bench.time.advance(TICK * 400.5)
    const before = taken()
    bench.out(0x40, 200, 0)
    expect(latch(bench)).toBe(600)
    bench.time.advance(TICK * 600)
    expect(taken() - before).toBe(1)
    expect(latch(bench)).toBe(200)
    bench.time.advance(TICK * 200)
    expect(taken() - before).toBe(2)
    gate(bench, true)
    speaker(bench, 0x36, 100)
    bench.time.advance(TICK * 20.5)
    bench.out(0x42, 10, 0)
    bench.time.advance(TICK * 29.5)
    expect([output(bench), speakerCount(bench)]).toEqual([true, 10])
    bench.time.advance(TICK * 5.5)
    expect(output(bench)).toBe(false)
  })

  it('mode 3 with an odd count is high one tick longer than low', () => {
    const bench = new Bench()
    gate(bench, true)
    speaker(bench, 0x36, 5)
    bench.time.advance(TICK * 0.5)
    const seen: [number, boolean][] = []
    for (let i = 0; i < 6; i++) {
      seen.push([speakerCount(bench), output(bench)])
      bench.time.advance(TICK)
    }
    expect(seen).toEqual([[4, true], [2, true], [0, true], [4, false], [2, false], [4, true]])
  })

  it('modes 4 and 5 strobe low for one tick: after the count is written, and after the gate rises', () => {
    const { bench, taken } = counting(2)
    load(bench, 0x38, 50)
    const before = taken()
    bench.time.advance(TICK * 50.5)
    expect(taken() - before).toBe(0)
    bench.time.advance(TICK)
    expect(taken() - before).toBe(1)
    bench.time.advance(TICK * 100_000)
    expect(taken() - before).toBe(1)
    speaker(bench, 0x3a, 50)
    bench.time.advance(TICK * 50.5)
    expect(output(bench)).toBe(true)
    gate(bench, true)
    bench.time.advance(TICK * 50.5)
    expect(output(bench)).toBe(false)
    bench.time.advance(TICK)
    expect(output(bench)).toBe(true)
  })

  it('counts in BCD: 0 stands for ten thousand', () => {
    const bench = new Bench()
    load(bench, 0x35, 0x1000)
    bench.time.advance(TICK * 1.5)
    expect(latch(bench)).toBe(0x0999)
    load(bench, 0x31, 0)
    bench.time.advance(TICK * 1.5)
    expect(latch(bench)).toBe(0x9999)
    bench.time.advance(TICK * 10_000)
    expect(latch(bench)).toBe(0x9999)
  })

  it('tells by NULL COUNT whether a count is in use, and continues from a saved state', () => {
    const bench = new Bench()
    const status = (channel: number): number => {
      bench.out(0x43, 0xe0 | (2 << channel))
      return bench.in(0x40 + channel)
    }
    bench.out(0x43, 0x34)
    expect(status(0) & 0x40).toBe(0x40)
    bench.out(0x40, 100, 0)
    expect(status(0) & 0x40).toBe(0)
    bench.out(0x40, 50, 0)
    expect(status(0) & 0x40).toBe(0x40)
    gate(bench, false)
    speaker(bench, 0x30, 1000)
    const pit = bench.devices.find(({ id }) => id === 'pit')
    const saved = pit?.save()
    pit?.reset()
    if (saved) pit?.restore(saved, 2)
    bench.time.advance(TICK * 100.5)
    expect(status(0) & 0x40).toBe(0)
    expect([speakerCount(bench), latch(bench)]).toEqual([1000, 50])
  })

  it('read-back gives status then the latched count', () => {
    const bench = new Bench()
    load(bench, 0x34, 0x1234)
    bench.out(0x43, 0xc2)
    expect(bench.in(0x40) & 0x3f).toBe(0x34)
    expect(bench.in(0x40) | (bench.in(0x40) << 8)).toBe(0x1234)
  })

  it('channel 2 shows its output at port 0x61, as the TSC calibration of Linux reads it', () => {
    const bench = new Bench()
    bench.out(0x61, 1)
    bench.out(0x43, 0xb0)
    bench.out(0x42, 0x10, 0x27)
    bench.time.advance(TICK * 9999)
    expect(bench.in(0x61) & 0x20).toBe(0)
    bench.time.advance(TICK * 2)
    expect(bench.in(0x61) & 0x20).toBe(0x20)
  })
})

describe('MC146818', () => {
  const read = (bench: Bench, register: number): number => {
    bench.out(0x70, register)
    return bench.in(0x71)
  }
  const write = (bench: Bench, register: number, value: number): void => {
    bench.out(0x70, register)
    bench.out(0x71, value)
  }
  const date = (bench: Bench): number[] => [0x32, 9, 8, 7, 4, 2, 0].map((r) => read(bench, r))

  it('tells the time in BCD over a leap day and the end of a month', () => {
    const bench = new Bench()
    expect(date(bench)).toEqual([0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58])
    bench.time.advance(2e9)
    expect(date(bench)).toEqual([0x20, 0x24, 0x03, 0x01, 0, 0, 0])
  })

  it('tells binary and twelve-hour time', () => {
    const bench = new Bench()
    write(bench, 0x0b, 0x04)
    expect(read(bench, 4)).toBe(0x80 | 11)
    expect(read(bench, 0)).toBe(58)
  })

  it('keeps a time set under SET and runs on from it', () => {
    const bench = new Bench()
    write(bench, 0x0b, 0x82)
    for (const [register, value] of [[0, 0x30], [2, 0x15], [4, 0x08], [7, 0x17], [8, 0x06], [9, 0x19], [0x32, 0x20]]) write(bench, register, value)
    bench.time.advance(5e9)
    expect(read(bench, 0)).toBe(0x30)
    write(bench, 0x0b, 0x02)
    bench.time.advance(3e9)
    expect(date(bench)).toEqual([0x20, 0x19, 0x06, 0x17, 0x08, 0x15, 0x33])
  })

  it('interrupts once a second on update, on alarm with wildcards, and reading C takes the line down', () => {
    const { bench, taken } = counting(8)
    write(bench, 0x0b, 0x12)
    bench.time.advance(1e9)
    expect(taken()).toBe(1)
    bench.time.advance(1e9)
    expect(taken()).toBe(1)
    expect(read(bench, 0x0c) & 0x90).toBe(0x90)
    bench.time.advance(1e9)
    expect(taken()).toBe(2)
    read(bench, 0x0c)
    write(bench, 1, 0x05)
    write(bench, 3, 0xff)
    write(bench, 5, 0xff)
    write(bench, 0x0b, 0x22)
    bench.time.advance(3e9)
    expect(taken()).toBe(2)
    bench.time.advance(1e9)
    expect(taken()).toBe(3)
    expect(read(bench, 0x0c) & 0x20).toBe(0x20)
  })

  it('shows an update in progress before a second ends, and sets flags where no interrupt is enabled', () => {
    const bench = new Bench()
    expect(read(bench, 0x0a)).toBe(0x26)
    bench.time.advance(0.9995e9)
    expect(read(bench, 0x0a)).toBe(0xa6)
    write(bench, 0x0b, 0x82)
    expect(read(bench, 0x0a)).toBe(0x26)
    write(bench, 0x0b, 0x02)
    read(bench, 0x0c)
    bench.time.advance(1e9)
    expect(read(bench, 0x0c) & 0xf0).toBe(0x50)
    expect(read(bench, 0x0c)).toBe(0)
    for (const [register, value] of [[1, 0x03], [3, 0xff], [5, 0xff]]) write(bench, register, value)
    bench.time.advance(5e9)
    expect(read(bench, 0x0c) & 0x20).toBe(0x20)
    bench.time.advance(5e9)
    expect(read(bench, 0x0c) & 0x20).toBe(0)
    bench.time.advance(1e9)
    write(bench, 0x0b, 0x12)
    expect(read(bench, 0x0c) & 0x90).toBe(0x90)
  })

  it('stands while its divider is held in reset, and begins half a second later', () => {
    const bench = new Bench()
    write(bench, 0x0a, 0x76)
    for (const [register, value] of [[0, 0x10], [2, 0x20], [4, 0x08]]) write(bench, register, value)
    bench.time.advance(30e9)
    expect(date(bench).slice(4)).toEqual([0x08, 0x20, 0x10])
    write(bench, 0x0a, 0x26)
    bench.time.advance(0.4e9)
    expect(read(bench, 0)).toBe(0x10)
    bench.time.advance(0.2e9)
    expect(read(bench, 0)).toBe(0x11)
  })

  it('makes up its period from one tick to the next: a late host shifts none', () => {
    const { bench, taken } = counting(8)
    write(bench, 0x0a, 0x2f) // 2 Hz
    write(bench, 0x0b, 0x42)
    bench.time.jump(0.7e9)
    expect(taken()).toBe(1)
    read(bench, 0x0c)
    bench.time.advance(0.31e9)
    expect(taken()).toBe(2)
  })

  it('ticks periodically at 1024 Hz', () => {
    const { bench, taken } = counting(8)
    write(bench, 0x0a, 0x26)
    write(bench, 0x0b, 0x42)
    for (let i = 0; i < 10; i++) {
      bench.time.advance(1e9 / 1024)
      taken()
      read(bench, 0x0c)
    }
    expect(taken()).toBe(10)
  })

  it('keeps its memory through a reset', () => {
    const bench = new Bench()
    write(bench, 0x50, 0xa5)
    for (const device of bench.devices) device.reset()
    expect(read(bench, 0x50)).toBe(0xa5)
  })
})

describe('HPET', () => {
  it('announces a 64-bit 100 MHz counter and runs only when enabled', () => {
    const bench = new Bench()
    expect(bench.mmio.read(HPET, 4)).toBe(0x8086_a201)
    expect(bench.mmio.read(HPET + 4, 4)).toBe(10_000_000)
    bench.time.advance(1000)
    expect(bench.mmio.read(HPET + 0xf0, 4)).toBe(0)
    hpet(bench, 0x10, 1)
    bench.time.advance(1000)
    expect(bench.mmio.read(HPET + 0xf0, 4)).toBe(100)
    hpet(bench, 0x10, 0)
    bench.time.advance(1000)
    expect(bench.mmio.read(HPET + 0xf0, 4)).toBe(100)
  })

  it('timer 0 replaces the PIT: one-shot, then periodic as Linux programs it', () => {
    const { bench, taken } = counting(2)
    hpet(bench, 0x10, 3)
    hpet(bench, 0x100, 0x4)
    hpet(bench, 0x108, 500)
    hpet(bench, 0x10c, 0)
    bench.out(0x43, 0x34)
    bench.out(0x40, 2, 0)
    bench.time.advance(4990)
    expect(taken()).toBe(0)
    bench.time.advance(10)
    expect(taken()).toBe(1)
    bench.time.advance(100_000)
    expect(taken()).toBe(1)
    hpet(bench, 0x100, 0x14c)
    hpet(bench, 0x108, bench.mmio.read(HPET + 0xf0, 4) + 1000)
    hpet(bench, 0x108, 200)
    bench.time.advance(10_000)
    expect(taken()).toBe(2)
    bench.time.advance(2000)
    expect(taken()).toBe(3)
    bench.time.jump(1_000_000)
    expect(taken()).toBe(4)
    bench.time.advance(2000)
    expect(taken()).toBe(5)
  })

  it('a periodic timer that may not interrupt wakes nobody, and its comparator is where it would be all the same', () => {
    const { bench, taken } = counting(2)
    const comparator = (): number => bench.mmio.read(HPET + 0x108, 4)
    hpet(bench, 0x10, 3)
    hpet(bench, 0x100, 0x148)
    hpet(bench, 0x108, 1000)
    hpet(bench, 0x108, 200)
    expect(bench.time.clock.nextDeadlineNs()).toBe(Infinity)
    bench.time.advance(9_990)
    expect(comparator()).toBe(1000)
    bench.time.advance(10)
    expect(comparator()).toBe(1200)
    // Until the counter's lower half has come around seven times, and a little more.
    const ticks = 7 * 2 ** 32 + 12_345
    bench.time.advance(ticks * 10)
    const now = 1000 + ticks
    const next = 1000 + (Math.floor((now - 1000) / 200) + 1) * 200
    expect(comparator()).toBe(next % 2 ** 32)
    expect(taken()).toBe(0)
    hpet(bench, 0x100, 0x10c)
    bench.time.advance((next - now) * 10 - 10)
    expect(taken()).toBe(0)
    bench.time.advance(10)
    expect(taken()).toBe(1)
    bench.time.advance(2000)
    expect(taken()).toBe(2)
  })

  it('drives an I/O APIC line by level until the status bit is cleared', () => {
    const { bench, taken } = counting(21)
    bench.setIoapic(0x10 + 2 * 21, 0x8040)
    hpet(bench, 0x10, 1)
    hpet(bench, 0x140, (21 << 9) | 6)
    hpet(bench, 0x148, 100)
    hpet(bench, 0x14c, 0)
    bench.time.advance(1000)
    bench.interrupts.acknowledge()
    expect(bench.mmio.read(HPET + 0x20, 4)).toBe(4)
    hpet(bench, 0x20, 4)
    bench.setLapic(0xb0, 0)
    expect(taken()).toBe(0)
    expect(bench.mmio.read(HPET + 0x20, 4)).toBe(0)
  })
})

describe('ACPI', () => {
  it('PM timer runs at 3.579545 MHz', () => {
    const bench = new Bench()
    bench.time.advance(1e9)
    expect(bench.io.read(0x608, 4)).toBe(3_579_545)
  })

  it('power button raises SCI by level until its status is cleared', () => {
    const { bench } = counting(9)
    bench.setIoapic(0x10 + 18, 0x8049)
    bench.io.write(0x602, 2, 0x100)
    bench.acpi.pressPowerButton()
    expect(bench.interrupts.acknowledge()).toBe(0x49)
    expect(bench.io.read(0x600, 2)).toBe(0x100)
    bench.io.write(0x600, 2, 0x100)
    bench.setLapic(0xb0, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('TMR_STS tells of each change of the PM timer\'s highest bit, by SCI where enabled', () => {
    const { bench, taken } = counting(9)
    bench.setIoapic(0x10 + 18, 0x8049)
    const halfTurn = 2 ** 31 / 3_579_545 * 1e9
    bench.time.advance(halfTurn - 1e6)
    expect(bench.io.read(0x600, 2) & 1).toBe(0)
    bench.time.advance(2e6)
    expect(bench.io.read(0x600, 2) & 1).toBe(1)
    bench.io.write(0x600, 2, 1)
    bench.io.write(0x602, 2, 1)
    expect(taken()).toBe(0)
    bench.time.advance(halfTurn)
    expect(bench.interrupts.acknowledge()).toBe(0x49)
    bench.io.write(0x600, 2, 1)
    bench.setLapic(0xb0, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('only SLP_EN with the S5 type powers off', () => {
    const bench = new Bench()
    bench.io.write(0x604, 2, (5 << 10) | 1)
    bench.io.write(0x604, 2, (1 << 10) | 0x2001)
    expect(bench.powerOffs).toBe(0)
    bench.io.write(0x604, 2, (5 << 10) | 0x2001)
    expect(bench.powerOffs).toBe(1)
  })
})

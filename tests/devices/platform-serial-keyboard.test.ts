/** UART and keyboard controller behaviour, as Linux' 8250 and i8042 drivers probe and use them. */
import { describe, expect, it } from 'vitest'
import { Bench } from './platform-bench'

const RBR = 0x3f8
const [IER, IIR, LCR, MCR, LSR, MSR, SCR] = [1, 2, 3, 4, 5, 6, 7].map((r) => RBR + r)
const text = (s: string): Uint8Array => Uint8Array.from(s, (c) => c.charCodeAt(0))

describe('16550A', () => {
  it('passes autoconfiguration: IER, loopback modem lines, FIFO bits, scratch, divisor', () => {
    const bench = new Bench()
    bench.out(IER, 0)
    expect(bench.in(IER)).toBe(0)
    bench.out(IER, 0x0f)
    expect(bench.in(IER)).toBe(0x0f)
    bench.out(MCR, 0x1a)
    expect(bench.in(MSR) & 0xf0).toBe(0x90)
    bench.out(IIR, 1)
    expect(bench.in(IIR) >> 6).toBe(3)
    bench.out(SCR, 0x5a)
    expect(bench.in(SCR)).toBe(0x5a)
    bench.out(LCR, 0x83)
    bench.out(RBR, 0x0c)
    expect(bench.in(RBR)).toBe(0x0c)
    bench.out(LCR, 3)
    expect(bench.said).toEqual([])
  })

  it('gathers output and hands it on after a while', () => {
    const bench = new Bench()
    bench.out(RBR, ...text('hello'))
    expect(bench.said).toEqual([])
    bench.time.advance(3e6)
    expect(String.fromCharCode(...bench.said)).toBe('hello')
  })

  it('identifies interrupts in the order receive, transmit, and reading IIR ends transmit only', () => {
    const bench = new Bench()
    bench.out(MCR, 8)
    bench.out(IER, 3)
    bench.type(text('x'))
    expect(bench.in(IIR) & 15).toBe(4)
    expect(bench.in(IIR) & 15).toBe(4)
    expect(bench.in(LSR) & 1).toBe(1)
    expect(bench.in(RBR)).toBe(0x78)
    expect(bench.in(IIR) & 15).toBe(2)
    expect(bench.in(IIR) & 15).toBe(1)
  })

  it('below the trigger level waits for the character timeout', () => {
    const bench = new Bench()
    bench.out(IIR, 0xc1)
    bench.out(IER, 1)
    bench.type(text('abc'))
    expect(bench.in(IIR) & 15).toBe(1)
    bench.time.advance(1e6)
    expect(bench.in(IIR) & 15).toBe(12)
    bench.in(RBR)
    expect(bench.in(IIR) & 15).toBe(1)
    bench.type(text('01234567890123'))
    expect(bench.in(IIR) & 15).toBe(4)
  })

  it('loses nothing of a long paste, and OUT2 gates the line', () => {
    const bench = new Bench()
    bench.initPic(0xffff)
    bench.out(IIR, 1)
    bench.out(IER, 1)
    const paste = 'paste '.repeat(500)
    bench.type(text(paste))
    expect(bench.interrupts.pic.intr).toBe(false)
    bench.out(MCR, 8)
    expect(bench.interrupts.pic.intr).toBe(true)
    let got = ''
    while ((bench.in(LSR) & 1) !== 0) got += String.fromCharCode(bench.in(RBR))
    expect(got).toBe(paste)
    expect(bench.interrupts.pic.intr).toBe(false)
  })

  it('has four trigger levels, and clears its FIFO when that is switched', () => {
    for (const [control, level] of [[0x01, 1], [0x41, 4], [0x81, 8], [0xc1, 14]]) {
      const bench = new Bench()
      bench.out(IIR, control)
      bench.out(IER, 1)
      bench.type(text('x'.repeat(level - 1)))
      expect(bench.in(IIR) & 15).toBe(1)
      bench.type(text('x'))
      expect(bench.in(IIR) & 15).toBe(4)
      bench.out(IIR, 0)
      expect(bench.in(LSR) & 1).toBe(0)
    }
  })

  it('in loopback tells changes of the modem lines, a break and an overrun, and keeps what is typed for later', () => {
    const bench = new Bench()
    bench.out(MCR, 0x10)
    bench.in(MSR)
    bench.out(MCR, 0x17)
    expect(bench.in(MSR)).toBe(0x70 | 0x03)
    bench.out(MCR, 0x10)
    expect(bench.in(MSR)).toBe(0x07)
    bench.type(text('later'))
    expect(bench.in(LSR) & 1).toBe(0)
    bench.out(IER, 4)
    bench.out(LCR, 0x43)
    expect(bench.in(IIR) & 15).toBe(6)
    expect(bench.in(LSR) & 0x11).toBe(0x11)
    expect(bench.in(IIR) & 15).toBe(1)
    expect(bench.in(RBR)).toBe(0)
    bench.out(RBR, 1, 2)
    expect(bench.in(LSR) & 3).toBe(3)
    expect(bench.in(RBR)).toBe(1)
    bench.out(MCR, 0)
    expect(String.fromCharCode(...text('later').map(() => bench.in(RBR)))).toBe('later')
  })

  it('loops back without telling the host', () => {
    const bench = new Bench()
    bench.out(IIR, 1)
    bench.out(MCR, 0x10)
    bench.out(RBR, 0x55)
    expect(bench.in(RBR)).toBe(0x55)
    bench.time.advance(1e7)
    expect(bench.said).toEqual([])
  })
})

const data = (bench: Bench): number[] => {
  const bytes: number[] = []
  while ((bench.in(0x64) & 1) !== 0) bytes.push(bench.in(0x60))
  return bytes
}
const mouse = (bench: Bench, ...bytes: number[]): number[] => {
  for (const byte of bytes) {
    bench.out(0x64, 0xd4)
    bench.out(0x60, byte)
  }
  return data(bench)
}

describe('8042', () => {
  it('passes self test, keyboard identify and reset', () => {
    const bench = new Bench()
    bench.out(0x64, 0xaa)
    expect(data(bench)).toEqual([0x55])
    bench.out(0x60, 0xf2)
    expect(data(bench)).toEqual([0xfa, 0xab, 0x41])
    bench.out(0x60, 0xff)
    expect(data(bench)).toEqual([0xfa, 0xaa])
  })

  it('passes the auxiliary port probe of Linux', () => {
    const bench = new Bench()
    bench.out(0x64, 0xd3)
    bench.out(0x60, 0x5a)
    expect(bench.in(0x64) & 0x21).toBe(0x21)
    expect(data(bench)).toEqual([0x5a])
    for (const [command, off] of [[0xa7, 0x20], [0xa8, 0]]) {
      bench.out(0x64, command)
      bench.out(0x64, 0x20)
      expect(data(bench)[0] & 0x20).toBe(off)
    }
  })

  it('the mouse identifies itself, becomes a wheel mouse by the knock, and reports movement', () => {
    const bench = new Bench()
    expect(mouse(bench, 0xff)).toEqual([0xfa, 0xaa, 0])
    expect(mouse(bench, 0xf2)).toEqual([0xfa, 0])
    bench.i8042.sendMouse(5, 3, 0, 1)
    expect(data(bench)).toEqual([])
    mouse(bench, 0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf4)
    expect(mouse(bench, 0xf2)).toEqual([0xfa, 3])
    bench.i8042.sendMouse(5, 3, -1, 1)
    expect(data(bench)).toEqual([0x29, 5, 0xfd, 0xff])
  })

  it('scan codes raise IRQ 1, mouse bytes IRQ 12 when enabled', () => {
    const bench = new Bench()
    bench.initPic(0xffff)
    bench.out(0x64, 0x60)
    bench.out(0x60, 0x47)
    bench.i8042.sendScanCodes([0x1e])
    expect(bench.interrupts.pic.acknowledge()).toBe(0x21)
    expect(data(bench)).toEqual([0x1e])
    bench.out(0x20, 0x20)
    bench.out(0x64, 0xd4)
    bench.out(0x60, 0xf4)
    expect(bench.interrupts.pic.acknowledge()).toBe(0x2c)
  })

  it('resets the machine by pulse, output port and port 0x92', () => {
    const bench = new Bench()
    bench.out(0x64, 0xfe)
    bench.out(0x64, 0xd1)
    bench.out(0x60, 0xfe)
    bench.out(0x92, 3)
    expect(bench.resets).toBe(3)
  })

  it('port 0x92 is read as it was written, resets by the rise of bit 0, and is part of the state', () => {
    const bench = new Bench()
    const written = [0x00, 0x02, 0xfc].map((value) => {
      bench.out(0x92, value)
      return bench.in(0x92)
    })
    expect([written, bench.resets]).toEqual([[0x00, 0x02, 0xfc], 0])
    bench.out(0x92, 0x01, 0x01, 0x00)
    expect([bench.in(0x92), bench.resets]).toEqual([0x00, 1])
    const other = new Bench()
    expect(other.in(0x92)).toBe(2)
    bench.resetPorts.resetControl.write(1, 1, 0x0a)
    other.resetPorts.restore(bench.resetPorts.save())
    expect([other.in(0x92), other.resetPorts.resetControl.read(1, 1), other.resets]).toEqual([0x00, 0x0a, 0])
    other.resetPorts.reset()
    expect([other.in(0x92), other.resetPorts.resetControl.read(1, 1)]).toEqual([2, 0])
  })

  it('translates what the keyboard sends, or lets set 2 and set 1 through', () => {
    const bench = new Bench()
    const keys = [0x1e, 0x9e, 0xe0, 0x48, 0xe0, 0xc8, 0x41, 0xc1, 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]
    bench.i8042.sendScanCodes(keys)
    expect(data(bench)).toEqual(keys)
    bench.out(0x64, 0x60)
    bench.out(0x60, 0x04)
    bench.i8042.sendScanCodes(keys)
    expect(data(bench)).toEqual([0x1c, 0xf0, 0x1c, 0xe0, 0x75, 0xe0, 0xf0, 0x75, 0x83, 0xf0, 0x83, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77])
    bench.out(0x60, 0xf0)
    bench.out(0x60, 1)
    bench.i8042.sendScanCodes(keys)
    expect(data(bench)).toEqual([0xfa, 0xfa, ...keys])
  })

  it('every key of set 1 comes back from set 2 by the translation', () => {
    const bench = new Bench()
    const keys = Array.from({ length: 0x58 }, (_, i) => i + 1).flatMap((code) => [code, code | 0x80])
    const came = keys.flatMap((key) => {
      bench.i8042.sendScanCodes([key])
      return data(bench)
    })
    expect(came).toEqual(keys)
  })

  it('keeps what a device says while its clock is held, and lets a byte for it go', () => {
    const bench = new Bench()
    bench.out(0x64, 0xad)
    bench.i8042.sendScanCodes([0x1e])
    expect(bench.in(0x64) & 1).toBe(0)
    // The controller's own answers come all the same.
    bench.out(0x64, 0xaa)
    expect(data(bench)).toEqual([0x55])
    bench.out(0x64, 0xae)
    expect(data(bench)).toEqual([0x1e])
    bench.out(0x64, 0xad)
    bench.out(0x60, 0xee)
    bench.out(0x64, 0x20)
    expect(data(bench)).toEqual([0xee, 0x45])
  })

  it('a byte in the output buffer stays there, and shows in the output port', () => {
    const bench = new Bench()
    bench.i8042.sendScanCodes([0x1e])
    bench.out(0x64, 0xad)
    bench.out(0x64, 0xd0)
    expect(data(bench)).toEqual([0x1e, 0xdf])
    bench.out(0x64, 0xd0)
    expect(data(bench)).toEqual([0xcf])
  })

  it('has 32 bytes of memory, no password, and ports to read', () => {
    const bench = new Bench()
    const answer = (command: number): number[] => {
      bench.out(0x64, command)
      return data(bench)
    }
    bench.out(0x64, 0x7f)
    bench.out(0x60, 0x5a)
    expect(answer(0x3f)).toEqual([0x5a])
    expect(answer(0x21)).toEqual([0])
    expect(answer(0xa4)).toEqual([0xf1])
    expect(answer(0xc0)).toEqual([0x80])
    expect(answer(0xe0)).toEqual([0])
  })

  it('the keyboard repeats its last byte, refuses what is no command, and is silent when off', () => {
    const bench = new Bench()
    const say = (...bytes: number[]): number[] => {
      for (const byte of bytes) bench.out(0x60, byte)
      return data(bench)
    }
    expect(say(0xee)).toEqual([0xee])
    expect(say(0xfe)).toEqual([0xee])
    expect(say(0x81)).toEqual([0xfe])
    expect(say(0xed, 0xf4)).toEqual([0xfa, 0xfa])
    expect(say(0xf5)).toEqual([0xfa])
    bench.i8042.sendScanCodes([0x1e])
    expect(data(bench)).toEqual([])
    expect(say(0xf0, 3, 0xf0, 0)).toEqual([0xfa, 0xfa, 0xfa, 0xfa, 0x41])
  })

  it('goes on with a saved state: a held byte, half a break code, a command that waits', () => {
    const bench = new Bench()
    bench.out(0x64, 0xad)
    bench.i8042.sendScanCodes([0x9e])
    bench.out(0x64, 0x60)
    const other = new Bench()
    other.i8042.restore(bench.i8042.save())
    other.out(0x60, 0x45)
    expect(data(other)).toEqual([0x9e])
  })

  it('restores a version 2 state, whose bytes were translated', () => {
    const bench = new Bench()
    const old = {
      config: 0x45, pendingCommand: 0, keyboardCommand: 0xf0, scanning: true, outputPort: 3, queue: [{ value: 0x1e, aux: false }], mouse: bench.i8042.save().mouse,
    }
    bench.i8042.restore(old, 2)
    expect(data(bench)).toEqual([0x1e])
    bench.out(0x60, 0)
    expect(data(bench)).toEqual([0xfa, 0x41])
  })

  it('restores a version 1 state, which had no mouse', () => {
    const bench = new Bench()
    expect(() => bench.i8042.restore({ config: 0x45, pendingCommand: 0, keyboardCommand: 0, scanning: true, outputPort: 3, queue: [] }, 1)).not.toThrow()
  })
})

/** What each part of a machine's saved state is shown by: the device is left in the middle of something, and goes on from there. */
import { readMsr, writeMsr } from '../../src/main/vmm/cpu/msr/table'
import { Frame } from '../../src/main/vmm/memory/frame-table'
import type { HeldDisk, Rig } from './rig'
import { VirtioDriver } from './virtio-driver'

/** Ports and registers of a machine whose guest does nothing. */
export class Bench {
  constructor(readonly rig: Rig) {}
  in = (port: number, size: 1 | 2 | 4 = 1): number => this.rig.inner.board.io.read(port, size)
  out = (port: number, value: number, size: 1 | 2 | 4 = 1): void => this.rig.inner.board.io.write(port, size, value)
  read = (at: number): number => this.rig.inner.board.mmio.read(at, 4)
  write = (at: number, value: number): void => this.rig.inner.board.mmio.write(at, 4, value)
  get board(): Rig['inner']['board'] { return this.rig.inner.board }
  get disk(): HeldDisk { return this.rig.config.disks[0].backend as HeldDisk }
  readMsr = (index: number): bigint | undefined => readMsr(this.rig.inner.cpu, index)
  writeMsr = (index: number, value: bigint): boolean => writeMsr(this.rig.inner.cpu, index, value)
  /** Of guest memory. */
  bytes = (gpa: number, length: number): number[] => {
    const target = new Uint8Array(length)
    this.rig.inner.ram.read(gpa, target)
    return [...target]
  }
  /** A millisecond is 100 000 instructions. */
  wait = (ms: number): Promise<void> => this.rig.run(ms * 100_000)
}

export interface Case {
  /** The part of the saved state that it is about. */
  readonly section: string
  readonly what: string
  /** Leaves the device in the middle of something. */
  readonly begin: (bench: Bench) => void | Promise<void>
  /** What goes on from there, as the guest sees it. */
  readonly go: (bench: Bench) => unknown
}

/** Slots of the PCI bus, in the order of the board. */
const [CONSOLE, RNG, DISK] = [1, 2, 3]
const KVM_WALL_CLOCK = 0x4b56_4d00
const KVM_SYSTEM_TIME = 0x4b56_4d01
const [BLK_IN, BLK_OUT] = [0, 1]
const [BLK_F_CONFIG_WCE, BLK_F_MQ] = [11, 12]
/** Offset of `writeback` in struct virtio_blk_config. */
const BLK_WRITEBACK = 32
const TSC_MSR = 0x10
const PAT_MSR = 0x277
const HPET = 0xfed0_0000
const LAPIC = 0xfee0_0000
const IOAPIC = 0xfec0_0000

export const CASES: readonly Case[] = [
  {
    section: 'reset', what: 'a shut gate, and a kind of reset chosen',
    begin: ({ out }) => { out(0x92, 0x0c); out(0xcf9, 0x0a) },
    go: ({ in: read }) => [read(0x92), read(0xcf9)],
  },
  {
    section: 'lapic0', what: 'its page over memory',
    begin: ({ board, rig }) => {
      rig.inner.ram.writeU32(0x28_0030, 0x4433_2211)
      board.interrupts.lapic.writeApicBase(0x28_0900n)
    },
    go: ({ read, rig }) => [read(0x28_0030), rig.inner.ram.readU32(0x28_0030), (rig.inner.ram.frames.entry(0x280) & Frame.COVERED) !== 0],
  },
  {
    section: 'pic', what: 'between two initialisation words, a line up',
    begin: ({ out, board }) => {
      out(0xa0, 0x11); out(0xa1, 0x28); out(0xa1, 2); out(0xa1, 1)
      out(0x21, 0); out(0x20, 0x11); out(0x21, 0x20)
      board.interrupts.isaLine(5).set(true)
    },
    go: ({ in: read, out, board }) => {
      out(0x21, 4); out(0x21, 1); out(0x21, 0)
      board.interrupts.isaLine(3).set(true)
      out(0x20, 0x0a)
      const irr = read(0x20)
      const vector = board.interrupts.pic.acknowledge()
      out(0x20, 0x0b)
      return [irr, vector, read(0x20), read(0x21), read(0xa1)]
    },
  },
  {
    section: 'ioapic', what: 'a level interrupt waits for its end',
    begin: ({ write, board }) => {
      write(LAPIC + 0xf0, 0x1ff)
      write(IOAPIC, 0x10 + 2 * 20); write(IOAPIC + 0x10, 0x8000 | 0x55)
      board.interrupts.ioapic.line(20).set(true)
      write(IOAPIC, 0x10 + 2 * 20)
    },
    go: ({ read, write, board }) => {
      const before = read(IOAPIC + 0x10)
      const vector = board.interrupts.acknowledge()
      write(LAPIC + 0xb0, 0)
      return [before, vector, read(IOAPIC + 0x10), board.interrupts.pendingVector()]
    },
  },
  {
    section: 'lapic0', what: 'a timer counts, an interrupt is in service, another requested',
    begin: async ({ write, wait, board }) => {
      write(LAPIC + 0xf0, 0x1ff)
      write(LAPIC + 0x3e0, 0xb); write(LAPIC + 0x320, 0x2_0040); write(LAPIC + 0x380, 3_000_000)
      board.interrupts.lapic.accept(0x90, false)
      board.interrupts.acknowledge()
      board.interrupts.lapic.accept(0x70, false)
      await wait(1)
    },
    go: async ({ read, write, wait, board }) => {
      const count = read(LAPIC + 0x390)
      write(LAPIC + 0xb0, 0)
      const first = board.interrupts.acknowledge()
      write(LAPIC + 0xb0, 0)
      await wait(3)
      return [count, first, board.interrupts.pendingVector(), read(LAPIC + 0x390)]
    },
  },
  {
    section: 'pit', what: 'half a counter read, a count under way',
    begin: async ({ out, in: read, wait }) => {
      out(0x43, 0x34); out(0x40, 0x9c); out(0x40, 0x2e)
      await wait(1)
      out(0x43, 0x00)
      read(0x40)
      out(0x43, 0xb0); out(0x42, 0x12)
    },
    go: async ({ out, in: read, wait }) => {
      const high = read(0x40)
      out(0x42, 0x34)
      await wait(2)
      out(0x43, 0x00); out(0x43, 0x80)
      return [high, read(0x40), read(0x40), read(0x42), read(0x42), read(0x61)]
    },
  },
  {
    section: 'rtc', what: 'a time was set, the periodic interrupt runs',
    begin: async ({ out, wait }) => {
      const set = (index: number, value: number): void => { out(0x70, index); out(0x71, value) }
      set(0xb, 0x82); set(0, 0x30); set(2, 0x45); set(4, 0x11); set(0xb, 0x42); set(0xa, 0x26)
      await wait(0.4)
      out(0x70, 4)
    },
    go: async ({ in: read, out, wait }) => {
      const hour = read(0x71)
      await wait(3)
      out(0x70, 0xc)
      const cause = read(0x71)
      out(0x70, 2)
      return [hour, cause, read(0x71)]
    },
  },
  {
    section: 'hpet', what: 'a periodic comparator runs',
    begin: async ({ write, wait }) => {
      write(HPET + 0x10, 1)
      write(HPET + 0x100, 0x4e | (2 << 9)); write(HPET + 0x108, 30_000); write(HPET + 0x108, 20_000)
      await wait(1)
    },
    go: async ({ read, write, wait }) => {
      const [now, next] = [read(HPET + 0xf0), read(HPET + 0x108)]
      write(HPET + 0x20, 1)
      await wait(2)
      return [now, next, read(HPET + 0xf0), read(HPET + 0x20), read(HPET + 0x108)]
    },
  },
  {
    section: 'uart0', what: 'half a divisor written, input in the FIFO',
    begin: ({ out, in: read, rig }) => {
      out(0x3fa, 0xc1); out(0x3f9, 5); out(0x3fc, 0xb)
      rig.type('abc')
      read(0x3f8)
      out(0x3fb, 0x83); out(0x3f8, 12)
    },
    go: async ({ out, in: read, wait }) => {
      out(0x3f9, 0)
      const divisor = [read(0x3f8), read(0x3f9)]
      out(0x3fb, 3)
      await wait(1)
      return [divisor, read(0x3fa), read(0x3f8), read(0x3f8), read(0x3fd), read(0x3f9)]
    },
  },
  {
    section: 'i8042', what: 'a command waits for its byte, answers in the queue',
    begin: ({ out }) => {
      out(0x64, 0xd4); out(0x60, 0xf2)
      out(0x60, 0xf2)
      out(0x64, 0x60)
    },
    go: ({ out, in: read }) => {
      out(0x60, 0x47)
      const bytes = Array.from({ length: 6 }, () => [read(0x64), read(0x60)])
      out(0x64, 0x20)
      return [bytes, read(0x60)]
    },
  },
  {
    section: 'acpi-pm', what: 'the power button is pressed and not yet seen',
    begin: async ({ out, board, wait }) => {
      out(0x602, 0x100, 2)
      board.acpi.pressPowerButton()
      await wait(1)
    },
    go: async ({ in: read, out, wait }) => {
      const status = read(0x600, 4)
      out(0x600, 0x100, 2)
      const timer = read(0x608, 4)
      await wait(1)
      return [status, timer, read(0x600, 4), read(0x608, 4)]
    },
  },
  {
    section: 'acpi-pm', what: 'the machine is another generation, which the guest was not told yet',
    begin: ({ out, board }) => {
      board.generation.renew('324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87')
      out(0x612, 1 << 5, 2)
    },
    go: ({ in: read, out }) => {
      const raised = read(0x610, 4)
      out(0x610, 1 << 5, 2)
      return [raised, read(0x610, 4)]
    },
  },
  {
    section: 'pci', what: 'an address is latched, a window moved, MSI-X programmed',
    begin: ({ out, write }) => {
      out(0xcf8, 0x8000_0820, 4); out(0xcfc, 0xc800_0000, 4)
      out(0xcf8, 0x8000_0804, 4); out(0xcfc, 0x0006, 2)
      write(0xc800_0000, 1)
      out(0xcf8, 0x8000_0820, 4)
    },
    go: ({ in: read, read: load }) => [read(0xcfc, 4), load(0xc800_0004), load(0xc800_0014)],
  },
  {
    section: 'clock', what: 'the guest was switched on at another time than whoever continues it',
    begin: ({ wait }) => wait(1),
    go: ({ out, in: read }) => [4, 2, 0].map((index) => {
      out(0x70, index)
      return read(0x71)
    }),
  },
  {
    section: 'tsc', what: 'the counter was set',
    begin: ({ writeMsr: write }) => void write(TSC_MSR, 0x1234_5678_9abcn),
    go: async ({ readMsr: read, wait }) => {
      const at = read(TSC_MSR)
      await wait(1)
      return [at, read(TSC_MSR)]
    },
  },
  {
    section: 'kvm-clock', what: 'the guest knows where its time is written',
    begin: ({ writeMsr: write }) => {
      write(KVM_WALL_CLOCK, 0x40_1000n)
      write(KVM_SYSTEM_TIME, 0x40_2001n)
    },
    go: async ({ readMsr: read, writeMsr: write, bytes, wait }) => {
      const before = [bytes(0x40_1000, 12), bytes(0x40_2000, 32)]
      await wait(1)
      // Setting the counter moves the clock's origin: the page has to follow.
      write(TSC_MSR, 77n)
      return [before, bytes(0x40_2000, 32), read(KVM_WALL_CLOCK), read(KVM_SYSTEM_TIME)]
    },
  },
  {
    section: 'cpu0', what: 'registers, MSRs and flags in use',
    begin: ({ rig, writeMsr: write }) => {
      const { state } = rig.inner.cpu
      write(PAT_MSR, 0x0007_0406_0007_0405n)
      state.set64('gpr', 0xfeed_0000_0001n, 3)
      state.set('mxcsr', 0x9fc0)
      state.set('fcw', 0x27f)
    },
    go: ({ rig, readMsr: read }) => {
      const { state } = rig.inner.cpu
      return [read(PAT_MSR), state.get64('gpr', 3), state.get('mxcsr'), state.get('fcw'), rig.machine.figures().instructions]
    },
  },
  {
    section: 'virtio-console', what: 'input waits for buffers, half of it taken',
    begin: ({ rig }) => {
      const driver = new VirtioDriver(rig, CONSOLE).start()
      rig.typeIntoConsole('typed early')
      driver.offer(0, 0, [{ gpa: 0x50_0000, length: 5, writable: true }])
    },
    go: ({ rig, bytes }) => {
      const driver = new VirtioDriver(rig, CONSOLE)
      const said = rig.consoleOutput.length
      driver.offer(0, 1, [{ gpa: 0x50_0100, length: 16, writable: true }])
      rig.inner.ram.write(0x50_0200, Buffer.from('heard'))
      driver.offer(1, 0, [{ gpa: 0x50_0200, length: 5 }])
      return [driver.used(0), driver.used(1), String.fromCharCode(...bytes(0x50_0000, 5)), bytes(0x50_0100, 16), rig.consoleOutput.slice(said)]
    },
  },
  {
    section: 'virtio-rng', what: 'one request answered, its queue in use',
    begin: ({ rig }) => new VirtioDriver(rig, RNG).start().offer(0, 0, [{ gpa: 0x50_1000, length: 8, writable: true }]),
    go: ({ rig, bytes }) => {
      const driver = new VirtioDriver(rig, RNG)
      driver.offer(0, 1, [{ gpa: 0x50_1100, length: 8, writable: true }])
      return [driver.used(0), bytes(0x50_1000, 8), bytes(0x50_1100, 8)]
    },
  },
  {
    section: 'disk0', what: 'a write and a read of two queues under way, the cache switched off',
    begin: ({ rig, disk }) => {
      const driver = new VirtioDriver(rig, DISK).start([BLK_F_CONFIG_WCE, BLK_F_MQ])
      driver.setConfig(BLK_WRITEBACK, 0)
      disk.held = true
      driver.block(0, 0, { type: BLK_OUT, sector: 5, data: 0x50_2000 })
      driver.block(1, 0, { type: BLK_IN, sector: 1, data: 0x50_3000 })
    },
    go: async ({ rig, disk, bytes, wait }) => {
      const driver = new VirtioDriver(rig, DISK)
      const underWay = [driver.used(0), driver.used(1)]
      disk.release()
      await wait(1)
      const done = [driver.used(0), driver.used(1), bytes(0x50_3000, 512), [...disk.bytes.subarray(2560, 3072)]]
      driver.block(1, 4, { type: BLK_IN, sector: 5, data: 0x50_4000 })
      await wait(1)
      return [underWay, done, driver.used(1), bytes(0x50_4000, 512), driver.config(BLK_WRITEBACK)]
    },
  },
]

/** A CPU over one flat megabyte for unit tests of system behaviour: the oracle executes real machine code on it. */
import { Access, PageWalker } from '../../../mmu/walk'
import { createCpuModel } from '../../cpuid'
import { CpuFault, Vector, type CpuContext, type CpuModel, type CpuPlatform, type LinearMemory, type Privilege } from '../../core/context'
import { createDecoder } from '../../decode/decode'
import { isaRows } from '../../isa'
import { createOracle, type Oracle } from '../../oracle/oracle'
import { CpuState } from '../../state/access'
import { unpackRflags } from '../../state/flags'
import { STATE_SIZE, Seg } from '../../state/layout'
import { updateDerivedState } from '../../state/mode'

const BYTES = 1 << 20

class TestMemory implements LinearMemory {
  constructor(private readonly cpu: TestCpu) {}

  private locate(linear: bigint, write: boolean, privilege: Privilege): number {
    const { state, walker } = this.cpu
    const lo = Number(linear & 0xffff_ffffn)
    const long = (state.lo('efer') & 0x400) !== 0
    const hi = long ? Number((linear >> 32n) & 0xffff_ffffn) : 0
    const top = (hi << 0) >> 15
    if (long && top !== 0 && top !== -1) throw new CpuFault(Vector.GP, 0)
    const user = privilege === 'user' || (privilege === 'current' && state.get('cpl') === 3)
    const override = privilege === 'current' && (state.lo('rflags') & 0x4_0000) !== 0 ? Access.SMAP_OVERRIDE : 0
    if (!walker.walk(lo, hi, (write ? Access.WRITE : 0) | (user ? Access.USER : 0) | override)) {
      state.setLoHi('cr2', lo, hi)
      throw new CpuFault(Vector.PF, walker.errorCode)
    }
    return walker.gpaPage + (lo & 0xfff)
  }

  probe(linear: bigint, length: number, write: boolean, privilege: Privilege = 'current'): void {
    for (let i = 0; i < length; i++) this.locate(linear + BigInt(i), write, privilege)
  }

  readBytes(linear: bigint, target: Uint8Array, privilege: Privilege = 'current'): void {
    for (let i = 0; i < target.length; i++) target[i] = this.cpu.bytes[this.locate(linear + BigInt(i), false, privilege)] ?? 0xff
  }

  writeBytes(linear: bigint, source: Uint8Array, privilege: Privilege = 'current'): void {
    this.probe(linear, source.length, true, privilege)
    source.forEach((byte, i) => { this.cpu.bytes[this.locate(linear + BigInt(i), true, privilege)] = byte })
  }

  read(linear: bigint, size: 1 | 2 | 4, privilege: Privilege = 'current'): number {
    const buffer = new Uint8Array(4)
    this.readBytes(linear, buffer.subarray(0, size), privilege)
    return new DataView(buffer.buffer).getUint32(0, true)
  }

  read64(linear: bigint, privilege: Privilege = 'current'): bigint {
    return BigInt(this.read(linear, 4, privilege)) | (BigInt(this.read(linear + 4n, 4, privilege)) << 32n)
  }

  write(linear: bigint, size: 1 | 2 | 4, value: number, privilege: Privilege = 'current'): void {
    const buffer = new Uint8Array(4)
    new DataView(buffer.buffer).setUint32(0, value, true)
    this.writeBytes(linear, buffer.subarray(0, size), privilege)
  }

  write64(linear: bigint, value: bigint, privilege: Privilege = 'current'): void {
    const buffer = new Uint8Array(8)
    new DataView(buffer.buffer).setBigUint64(0, value, true)
    this.writeBytes(linear, buffer, privilege)
  }

  /** No shortcut: everything goes byte by byte. */
  directBytes(): undefined {
    return undefined
  }
}

/** Records port and MSR traffic. */
export class TestPlatform implements CpuPlatform {
  readonly outs: string[] = []
  tpr = 0
  tsc = 1000n
  portIn(port: number, size: number): number { return (0x1122_3300 | (port & 0xff)) & (2 ** (size * 8) - 1) }
  portOut(port: number, size: number, value: number): void { this.outs.push(`${port.toString(16)}/${size}=${value.toString(16)}`) }
  readTsc(): bigint { return this.tsc }
  readTscInto(view: DataView, low: number, high: number): void {
    view.setUint32(low, Number(this.tsc & 0xffff_ffffn), true)
    view.setUint32(high, Number(this.tsc >> 32n), true)
  }
  writeTsc(value: bigint): void { this.tsc = value }
  readMsr(index: number): bigint | undefined { return index === 0x1b ? 0xfee0_0900n : undefined }
  writeMsr(index: number): boolean { return index === 0x1b }
  readTpr(): number { return this.tpr }
  writeTpr(value: number): void { this.tpr = value }
  random64(): bigint { return 0x0123_4567_89ab_cdefn }
}

export interface GateSpec {
  readonly selector: number
  readonly offset: number
  readonly type: number
  readonly dpl?: number
  readonly present?: boolean
  readonly ist?: number
}

export class TestCpu implements CpuContext {
  readonly bytes = new Uint8Array(BYTES)
  readonly view = new DataView(this.bytes.buffer)
  readonly state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  readonly platform = new TestPlatform()
  readonly model: CpuModel
  readonly walker: PageWalker
  readonly memory: LinearMemory
  readonly flushes: boolean[] = []
  readonly invalidated: bigint[] = []
  private readonly oracle: Oracle

  constructor(profile = 'nestbox64') {
    // Every row of the table exists here, whatever the profile offers: the tests are about instructions.
    this.model = { ...createCpuModel(profile, { tscKHz: 1_000_000, apicId: 0, cpuCount: 1 }), xcr0Allowed: 3n }
    const physical = {
      readU32: (gpa: number) => (gpa + 4 <= BYTES ? this.view.getUint32(gpa, true) : 0xffff_ffff),
      writeU32: (gpa: number, value: number) => { if (gpa + 4 <= BYTES) this.view.setUint32(gpa, value, true) },
    }
    this.walker = new PageWalker(physical, this.state, this.model.physicalAddressBits)
    this.memory = new TestMemory(this)
    this.oracle = createOracle(this, createDecoder(isaRows, () => true))
    this.state.set64('mask16', 0xffffn)
    this.state.set64('mask32', 0xffff_ffffn)
    this.state.set64('mask64', 0xffff_ffff_ffff_ffffn)
    this.state.set('faultVector', -1)
    this.state.set64('cr0', 0x10n)
    this.state.set64('dr', 0x400n, 7)
    unpackRflags(this.state, 2n)
    for (let seg = 0; seg < 6; seg++) this.segment(seg, 0, 0, 0xffff, seg === Seg.CS ? 0x9b : 0x93)
    this.segment(Seg.LDTR, 0, 0, 0, 0x1_0000)
    this.segment(Seg.TR, 0, 0, 0xffff, 0x8b)
    this.state.set('idtrLimit', 0x3ff)
    this.modeChanged()
  }

  flushTlb(keepGlobal: boolean): void { this.flushes.push(keepGlobal) }
  invalidatePage(linear: bigint): void { this.invalidated.push(linear) }
  modeChanged(): void { updateDerivedState(this.state) }
  /** As an engine whose interrupt controller has something to deliver, or nothing. */
  set interruptWaits(waits: boolean) {
    this.state.set('interruptWaits', waits ? 1 : 0)
  }

  interruptsEnabled(): void {
    this.state.set('intShadow', 1)
  }
  noteUnimplemented(): void { /* counted by engines only */ }
  loadPdptes(cr3: number): boolean { return this.walker.loadPdptes(cr3) }

  /** Sets a segment register with its hidden part. `attr` as `segAttr`. */
  segment(seg: number, selector: number, base: number, limit: number, attr: number): void {
    this.state.set('segSelector', selector, seg)
    this.state.set64('segBase', BigInt(base), seg)
    this.state.set('segLimit', limit, seg)
    this.state.set('segAttr', attr, seg)
  }

  /** Writes an 8-byte descriptor. `attr` as `segAttr`; limit in bytes, granularity is applied where G is set. */
  descriptor(table: number, selector: number, base: number, limit: number, attr: number): void {
    const raw = (attr & 0x8000) !== 0 ? limit >>> 12 : limit
    const at = table + (selector & 0xfff8)
    this.view.setUint32(at, ((base & 0xffff) << 16) | (raw & 0xffff), true)
    this.view.setUint32(at + 4, (base & 0xff00_0000) | (raw & 0xf_0000) | (attr << 8) | ((base >>> 16) & 0xff), true)
  }

  /** Writes a gate of 8 bytes, or 16 in long mode. */
  gate(at: number, { selector, offset, type, dpl = 0, present = true, ist = 0 }: GateSpec, long = false): void {
    this.view.setUint32(at, (selector << 16) | (offset & 0xffff), true)
    this.view.setUint32(at + 4, (offset & 0xffff_0000) | (present ? 0x8000 : 0) | (dpl << 13) | (type << 8) | ist, true)
    if (long) this.view.setUint32(at + 8, 0, true)
    if (long) this.view.setUint32(at + 12, 0, true)
  }

  /** Puts code at an address, sets RIP there (CS base 0) and runs this many instructions. @throws CpuFault */
  run(code: readonly number[], at = 0x9000, steps = 1): void {
    this.bytes.set(code, at)
    this.state.set64('rip', BigInt(at))
    this.step(steps)
  }

  step(steps = 1): void {
    for (let i = 0; i < steps; i++) this.oracle.step()
  }

  u32(at: number): number { return this.view.getUint32(at, true) }
  u16(at: number): number { return this.view.getUint16(at, true) }
  u64(at: number): bigint { return this.view.getBigUint64(at, true) }
}

/** The fault code runs into, as `vector:error`; 'none' where it does not fault. */
export function faultOf(run: () => void): string {
  try {
    run()
    return 'none'
  } catch (error) {
    if (error instanceof CpuFault) return `${error.vector}:${error.errorCode === undefined ? '-' : error.errorCode.toString(16)}`
    throw error
  }
}

export const GDT = 0x1000
export const IDT = 0x2000
export const TSS = 0x3000
export const CODE0 = 0x08, DATA0 = 0x10, CODE3 = 0x1b, DATA3 = 0x23, CODE_CONFORMING = 0x28, TSS_SELECTOR = 0x40

/** 32-bit protected mode, flat, ring 0, a TSS whose ring-0 stack is 0x10:0x8000. */
export function protectedCpu(): TestCpu {
  const cpu = new TestCpu()
  const { state } = cpu
  cpu.descriptor(GDT, CODE0, 0, 0xffff_ffff, 0xc09b)
  cpu.descriptor(GDT, DATA0, 0, 0xffff_ffff, 0xc093)
  cpu.descriptor(GDT, CODE3, 0, 0xffff_ffff, 0xc0fb)
  cpu.descriptor(GDT, DATA3, 0, 0xffff_ffff, 0xc0f3)
  cpu.descriptor(GDT, CODE_CONFORMING, 0, 0xffff_ffff, 0xc09f)
  cpu.descriptor(GDT, TSS_SELECTOR, TSS, 0x67, 0x8b)
  state.set64('gdtrBase', BigInt(GDT))
  state.set('gdtrLimit', 0xff)
  state.set64('idtrBase', BigInt(IDT))
  state.set('idtrLimit', 0x7ff)
  state.set64('cr0', 0x11n)
  cpu.segment(Seg.CS, CODE0, 0, 0xffff_ffff, 0xc09b)
  for (const seg of [Seg.ES, Seg.SS, Seg.DS]) cpu.segment(seg, DATA0, 0, 0xffff_ffff, 0xc093)
  for (const seg of [Seg.FS, Seg.GS]) cpu.segment(seg, 0, 0, 0, 0x1_0000)
  cpu.segment(Seg.TR, TSS_SELECTOR, TSS, 0x67, 0x8b)
  cpu.view.setUint32(TSS + 4, 0x8000, true)
  cpu.view.setUint32(TSS + 8, DATA0, true)
  // The I/O permission map lies beyond the limit: no port is free.
  cpu.view.setUint16(TSS + 0x66, 0x68, true)
  state.setGpr(4, 0x7000n)
  cpu.modeChanged()
  return cpu
}

/** Ring 3 with its stack at 0x6000. */
export function toUser(cpu: TestCpu): void {
  const { state } = cpu
  const long = (state.lo('efer') & 0x400) !== 0
  cpu.segment(Seg.CS, CODE3, 0, 0xffff_ffff, long ? 0xa0fb : 0xc0fb)
  for (const seg of [Seg.ES, Seg.SS, Seg.DS]) cpu.segment(seg, DATA3, 0, 0xffff_ffff, 0xc0f3)
  state.set('cpl', 3)
  state.setGpr(4, 0x6000n)
  cpu.modeChanged()
}

export const PML4 = 0x2_0000

/** 64-bit mode, ring 0; the first megabyte mapped to itself by 4 KiB user pages. IST1 = 0xc000, RSP0 = 0x8008. */
export function longCpu(): TestCpu {
  const cpu = protectedCpu()
  const { state, view } = cpu
  view.setUint32(PML4, 0x2_1007, true)
  view.setUint32(0x2_1000, 0x2_2007, true)
  view.setUint32(0x2_2000, 0x2_3007, true)
  for (let page = 0; page < 256; page++) view.setUint32(0x2_3000 + page * 8, page * 0x1000 + 7, true)
  cpu.descriptor(GDT, CODE0, 0, 0xffff_ffff, 0xa09b)
  cpu.descriptor(GDT, CODE3, 0, 0xffff_ffff, 0xa0fb)
  cpu.descriptor(GDT, 0x30, 0, 0xffff_ffff, 0xc0fb)
  cpu.segment(Seg.CS, CODE0, 0, 0xffff_ffff, 0xa09b)
  state.set64('cr3', BigInt(PML4))
  state.set64('cr4', 0x20n)
  state.set64('efer', 0xd01n)
  state.set64('cr0', 0x8001_0011n)
  state.set('idtrLimit', 0xfff)
  view.setUint32(TSS + 4, 0x8008, true)
  view.setUint32(TSS + 8, 0, true)
  view.setUint32(TSS + 0x24, 0xc000, true)
  cpu.modeChanged()
  return cpu
}

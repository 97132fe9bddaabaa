/** Linear memory as TypeScript sees it: helpers, event delivery and the slow paths of generated code. */
import type { IoHandler, AccessSize } from '../../bus/types'
import { Frame, PAGE_SIZE } from '../../memory/frame-table'
import type { PhysicalRam } from '../../memory/guest-memory'
import { SoftTlb, Translation } from '../../mmu/soft-tlb'
import { TlbView } from '../../mmu/tlb-layout'
import type { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import type { AccessChecks } from './access-checks'
import { CpuFault, Vector, type LinearMemory, type Privilege } from './context'

const EFER_LMA = 0x400
const CR4_SMAP = 1 << 21
const RFLAGS_AC = 1 << 18

const AT_CPL = offsetOf('cpl')
const AT_CR4 = offsetOf('cr4')
const AT_RFLAGS = offsetOf('rflags')
const AT_EFER = offsetOf('efer')

export class CpuLinearMemory implements LinearMemory {
  private readonly bytes: Uint8Array
  private readonly view: DataView
  /** Data breakpoints and alignment checks; what helpers and event delivery do is held to them here. */
  checks: AccessChecks | undefined

  constructor(
    buffer: ArrayBufferLike,
    private readonly tlb: SoftTlb,
    private readonly ram: PhysicalRam,
    private readonly mmio: IoHandler,
    private readonly state: CpuState,
  ) {
    this.bytes = new Uint8Array(buffer)
    this.view = new DataView(buffer)
  }

  /** TLB view of the running code. */
  currentView(): number {
    const { view } = this.state
    if (view.getInt32(AT_CPL, true) === 3) return TlbView.USER
    const lifted = (view.getInt32(AT_CR4, true) & CR4_SMAP) !== 0 && (view.getInt32(AT_RFLAGS, true) & RFLAGS_AC) !== 0
    return lifted ? TlbView.SUPERVISOR_AC : TlbView.SUPERVISOR
  }

  private viewOf(privilege: Privilege): number {
    if (privilege === 'current') return this.currentView()
    return privilege === 'user' ? TlbView.USER : TlbView.SUPERVISOR
  }

  /** True where the address is canonical (or the mode has no such notion). */
  isCanonical(hi: number): boolean {
    if ((this.state.view.getInt32(AT_EFER, true) & EFER_LMA) === 0) return true
    const top = (hi << 0) >> 15
    return top === 0 || top === -1
  }

  /** Upper half as used: legacy modes have 32-bit linear addresses. */
  private wrapHi(hi: number): number {
    return (this.state.view.getInt32(AT_EFER, true) & EFER_LMA) === 0 ? 0 : hi
  }

  /** Host offset for an access within one page, or -1 with `tlb.gpa` set for MMIO. Throws CpuFault. */
  private locate(lo: number, hi: number, write: boolean, view: number): number {
    if (!this.isCanonical(hi)) throw new CpuFault(Vector.GP, 0)
    const host = this.tlb.translate(lo, hi, write, view)
    if (host === Translation.FAULT) throw new CpuFault(Vector.PF, this.tlb.errorCode)
    return host
  }

  /**
   * Host offset of an access of the running program, without exceptions: `Translation.FAULT` with `faultCode` for #PF (CR2 set),
   * `Translation.MMIO` where it must go the long way: no RAM, not within one page, not canonical.
   */
  hostOf(lo: number, hiRaw: number, bytes: number, write: boolean): number {
    const hi = this.wrapHi(hiRaw)
    if ((lo & 0xfff) + bytes > PAGE_SIZE || !this.isCanonical(hi)) return Translation.MMIO
    return this.tlb.translate(lo, hi, write, this.currentView())
  }

  get faultCode(): number {
    return this.tlb.errorCode
  }

  /** After `hostOf` for a write: guest-physical address if its page holds code, else -1. */
  get codeGpa(): number {
    const { gpa } = this.tlb
    return gpa >= 0 && (this.ram.frames.entry(Math.floor(gpa / PAGE_SIZE)) & Frame.CODE) !== 0 ? gpa : -1
  }

  /** Marks the page and drops code in what a write after `hostOf` changes. */
  prepareWrite(bytes: number): void {
    if (this.tlb.gpa >= 0) this.ram.hostForWrite(this.tlb.gpa, bytes)
  }

  readAt(lo: number, hiRaw: number, size: AccessSize, view: number): number {
    const hi = this.wrapHi(hiRaw)
    if ((lo & 0xfff) + size > PAGE_SIZE) return this.readSplit(lo, hi, size, view)
    const host = this.locate(lo, hi, false, view)
    if (host === Translation.MMIO) return this.mmio.read(this.tlb.gpa, size) >>> 0
    if (size === 4) return this.view.getUint32(host, true)
    return size === 2 ? this.view.getUint16(host, true) : this.bytes[host]
  }

  private readSplit(lo: number, hi: number, size: AccessSize, view: number): number {
    let value = 0
    for (let i = 0; i < size; i++) {
      const at = (lo >>> 0) + i
      value += this.readAt(at >>> 0, at > 0xffff_ffff ? hi + 1 : hi, 1, view) * 2 ** (8 * i)
    }
    return value
  }

  writeAt(lo: number, hiRaw: number, size: AccessSize, value: number, view: number): void {
    const hi = this.wrapHi(hiRaw)
    if ((lo & 0xfff) + size > PAGE_SIZE) return this.writeSplit(lo, hi, size, value, view)
    const host = this.locate(lo, hi, true, view)
    if (host === Translation.MMIO) return this.mmio.write(this.tlb.gpa, size, value >>> 0)
    if (this.tlb.gpa >= 0) this.ram.hostForWrite(this.tlb.gpa, size)
    if (size === 4) this.view.setUint32(host, value, true)
    else if (size === 2) this.view.setUint16(host, value, true)
    else this.bytes[host] = value
  }

  private writeSplit(lo: number, hi: number, size: AccessSize, value: number, view: number): void {
    this.probeAt(lo, hi, size, true, view)
    for (let i = 0; i < size; i++) {
      const at = (lo >>> 0) + i
      this.writeAt(at >>> 0, at > 0xffff_ffff ? hi + 1 : hi, 1, (value >>> (8 * i)) & 0xff, view)
    }
  }

  /**
   * Whether a write within one page would go to RAM that `test` holds for (page number, offset, length). Raises nothing:
   * the write itself will.
   */
  writesTo(lo: number, hiRaw: number, length: number, test: (page: number, offset: number, length: number) => boolean): boolean {
    const hi = this.wrapHi(hiRaw)
    if (!this.isCanonical(hi)) return false
    // A write tag in the TLB says that the page holds no code.
    if (this.tlb.translate(lo, hi, true, this.currentView()) < 0 || this.tlb.gpa < 0) return false
    return test(Math.floor(this.tlb.gpa / PAGE_SIZE), this.tlb.gpa % PAGE_SIZE, length)
  }

  /** Translates every page of a range for the access, before any byte moves. */
  probeAt(lo: number, hiRaw: number, length: number, write: boolean, view: number): void {
    const hi = this.wrapHi(hiRaw)
    let done = 0
    while (done < length) {
      const at = (lo >>> 0) + done
      this.locate(at >>> 0, at > 0xffff_ffff ? this.wrapHi(hi + 1) : hi, write, view)
      done += PAGE_SIZE - (at % PAGE_SIZE)
    }
  }

  private static halves(linear: bigint): [number, number] {
    return [Number(linear & 0xffff_ffffn), Number((linear >> 32n) & 0xffff_ffffn)]
  }

  read(linear: bigint, size: AccessSize, privilege: Privilege = 'current'): number {
    const [lo, hi] = CpuLinearMemory.halves(linear)
    if (!this.checks?.armed) return this.readAt(lo, hi, size, this.viewOf(privilege))
    if (privilege === 'current') this.checks.requireAligned(lo, size)
    const value = this.readAt(lo, hi, size, this.viewOf(privilege))
    this.checks.note(lo, hi, size, false)
    return value
  }

  read64(linear: bigint, privilege: Privilege = 'current'): bigint {
    if (privilege === 'current') this.checks?.requireAligned(Number(linear & 7n), 8)
    const low = this.read(linear, 4, privilege)
    return BigInt(low) | (BigInt(this.read(linear + 4n, 4, privilege)) << 32n)
  }

  readSystem32(lo: number, hi: number): number {
    const value = this.readAt(lo, hi, 4, TlbView.SUPERVISOR)
    if (this.checks?.armed) this.checks.note(lo, hi, 4, false)
    return value
  }

  write(linear: bigint, size: AccessSize, value: number, privilege: Privilege = 'current'): void {
    const [lo, hi] = CpuLinearMemory.halves(linear)
    if (!this.checks?.armed) return this.writeAt(lo, hi, size, value, this.viewOf(privilege))
    if (privilege === 'current') this.checks.requireAligned(lo, size)
    this.writeAt(lo, hi, size, value, this.viewOf(privilege))
    this.checks.note(lo, hi, size, true)
  }

  write64(linear: bigint, value: bigint, privilege: Privilege = 'current'): void {
    if (privilege === 'current') this.checks?.requireAligned(Number(linear & 7n), 8)
    this.probe(linear, 8, true, privilege)
    this.write(linear, 4, Number(value & 0xffff_ffffn), privilege)
    this.write(linear + 4n, 4, Number((value >> 32n) & 0xffff_ffffn), privilege)
  }

  probe(linear: bigint, length: number, write: boolean, privilege: Privilege = 'current'): void {
    const [lo, hi] = CpuLinearMemory.halves(linear)
    this.probeAt(lo, hi, length, write, this.viewOf(privilege))
  }

  readBytes(linear: bigint, target: Uint8Array, privilege: Privilege = 'current'): void {
    this.eachChunk(linear, target.length, false, privilege, (host, at, length) => {
      if (host >= 0) target.set(this.bytes.subarray(host, host + length), at)
      else for (let i = 0; i < length; i++) target[at + i] = this.mmio.read(this.tlb.gpa + i, 1)
    })
  }

  writeBytes(linear: bigint, source: Uint8Array, privilege: Privilege = 'current'): void {
    this.probe(linear, source.length, true, privilege)
    this.eachChunk(linear, source.length, true, privilege, (host, at, length) => {
      const gpa = this.tlb.gpa
      if (host >= 0) {
        if (gpa >= 0) this.ram.hostForWrite(gpa, length)
        this.bytes.set(source.subarray(at, at + length), host)
      } else for (let i = 0; i < length; i++) this.mmio.write(gpa + i, 1, source[at + i])
    })
  }

  directBytes(linear: bigint, length: number, write: boolean): Uint8Array | undefined {
    const [lo, hiRaw] = CpuLinearMemory.halves(linear)
    const hi = this.wrapHi(hiRaw)
    if ((lo & 0xfff) + length > PAGE_SIZE || !this.isCanonical(hi) || this.checks?.armed) return undefined
    const cr2 = this.state.get64('cr2')
    const host = this.tlb.translate(lo, hi, write, this.currentView())
    if (host < 0) {
      this.state.set64('cr2', cr2)
      return undefined
    }
    if (write && this.tlb.gpa >= 0) this.ram.hostForWrite(this.tlb.gpa, length)
    return this.bytes.subarray(host, host + length)
  }

  private eachChunk(
    linear: bigint, length: number, write: boolean, privilege: Privilege,
    use: (host: number, at: number, length: number) => void,
  ): void {
    const view = this.viewOf(privilege)
    let done = 0
    while (done < length) {
      const [lo, hiRaw] = CpuLinearMemory.halves(linear + BigInt(done))
      const chunk = Math.min(length - done, PAGE_SIZE - (lo & 0xfff))
      const host = this.locate(lo, this.wrapHi(hiRaw), write, view)
      use(host, done, chunk)
      if (this.checks?.armed) this.checks.note(lo, hiRaw, chunk, write)
      done += chunk
    }
  }
}

/**
 * The page walk: guest-linear to guest-physical by the guest's own tables. Intel SDM vol. 3, chapter 4.
 * Works on 32-bit halves in JS numbers: no bigint and no allocation, for it runs at every TLB miss.
 */
import type { PhysicalMemory } from '../cpu/core/context'
import type { CpuState } from '../cpu/state/access'
import { offsetOf } from '../cpu/state/layout'
import { A, CR0_WP, CR4_PAE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, D, EFER_LMA, EFER_NXE, G, NX, P, PS, RW, US } from './paging-bits'

/** Bits of the `access` argument of `walk`. */
export const Access = {
  WRITE: 1,
  /** With CPL 3 rights; otherwise as supervisor. */
  USER: 2,
  FETCH: 4,
  /** RFLAGS.AC lifts SMAP for this access. */
  SMAP_OVERRIDE: 8,
  /** Leave the tables as they are: no accessed and dirty bits (looking from outside). */
  NO_UPDATE: 16,
} as const

/** Page fault error code bits, SDM vol. 3, 4.7. */
export const PageFaultCode = { PRESENT: 1, WRITE: 2, USER: 4, RESERVED: 8, FETCH: 16 } as const

const AT_CR0 = offsetOf('cr0')
const AT_CR3 = offsetOf('cr3')
const AT_CR4 = offsetOf('cr4')
const AT_EFER = offsetOf('efer')

const TWO32 = 2 ** 32
/** Reserved bits of a PDPTE in PAE paging, low half: 2:1 and 8:5. */
const PDPTE_RESERVED_LO = 0x1e6

export class PageWalker {
  /** Guest-physical address of the 4 KiB page that holds the address, whatever the page size. */
  gpaPage = 0
  /** 12, 21, 22 or 30. */
  pageShift = 12
  /** A write with the same rights would be allowed and needs no table update. */
  writable = false
  userPage = false
  executable = false
  global = false
  dirty = false
  /** For #PF, after `walk` returned false. */
  errorCode = 0

  private readonly reservedHi: number
  /** PAE page-directory-pointer registers as halves (lo, hi) × 4. */
  private readonly pdptes = new Uint32Array(8)
  /** CR3 they were loaded for; -1 none. */
  private pdptesFor = -1
  /** Addresses of the entries the walk went through, root first. */
  private readonly path = new Float64Array(4)
  private readonly pathLo = new Uint32Array(4)

  /** @param physicalBits MAXPHYADDR, 32 … 52 */
  constructor(private readonly memory: PhysicalMemory, private readonly state: CpuState, private readonly physicalBits: number) {
    this.reservedHi = physicalBits >= 52 ? 0 : (0xf_ffff << (physicalBits - 32)) & 0xf_ffff
  }

  /**
   * @param laLo @param laHi halves of a canonical linear address (laHi 0 in legacy modes)
   * @param access bits of `Access`
   * @returns false for a page fault: see `errorCode`
   */
  walk(laLo: number, laHi: number, access: number): boolean {
    const { view } = this.state
    const cr0 = view.getInt32(AT_CR0, true)
    if ((cr0 & 0x8000_0000) === 0) return this.identity(laLo)
    const cr4 = view.getInt32(AT_CR4, true)
    if ((cr4 & CR4_PAE) === 0) return this.walk32(laLo >>> 0, access, cr0, cr4)
    return this.walk64(laLo >>> 0, laHi >>> 0, access, cr0, cr4)
  }

  private identity(laLo: number): boolean {
    this.gpaPage = (laLo & ~0xfff) >>> 0
    this.pageShift = 12
    this.writable = this.userPage = this.executable = this.dirty = true
    this.global = false
    return true
  }

  /**
   * Loads the PDPTE registers from the table CR3 points to (SDM 4.4.1): to be called when CR3 is written, or PAE paging
   * is switched on. False: a present entry has a reserved bit set, which is #GP(0); the registers are then unchanged.
   */
  loadPdptes(cr3 = this.state.lo('cr3')): boolean {
    const fresh = this.readPdptes(cr3)
    for (let i = 0; i < 8; i += 2) {
      const reserved = (fresh[i] & PDPTE_RESERVED_LO) | (fresh[i + 1] & (this.reservedHi | 0xfff0_0000))
      if ((fresh[i] & P) !== 0 && reserved !== 0) return false
    }
    this.pdptes.set(fresh)
    this.pdptesFor = cr3
    return true
  }

  /** The PDPTE registers as halves and the CR3 they were loaded for; undefined where they hold nothing. */
  pdpteRegisters(): { readonly cr3: number; readonly halves: readonly number[] } | undefined {
    return this.pdptesFor < 0 ? undefined : { cr3: this.pdptesFor, halves: [...this.pdptes] }
  }

  /** Puts back what `pdpteRegisters` told. */
  restorePdptes(cr3: number, halves: readonly number[]): void {
    this.pdptes.set(halves)
    this.pdptesFor = cr3
  }

  /** After the machine's state was replaced: the registers are read again at the next walk. */
  forgetPdptes(): void {
    this.pdptesFor = -1
  }

  private readPdptes(cr3: number): Uint32Array {
    const fresh = new Uint32Array(8)
    const base = (cr3 & ~0x1f) >>> 0
    for (let i = 0; i < 8; i++) fresh[i] = this.memory.readU32(base + i * 4)
    return fresh
  }

  private fail(access: number, cr4: number, bits: number): false {
    let code = bits
    if (access & Access.WRITE) code |= PageFaultCode.WRITE
    if (access & Access.USER) code |= PageFaultCode.USER
    const tellsFetch = (cr4 & CR4_SMEP) !== 0 || ((cr4 & CR4_PAE) !== 0 && (this.state.lo('efer') & EFER_NXE) !== 0)
    if (access & Access.FETCH && tellsFetch) code |= PageFaultCode.FETCH
    this.errorCode = code
    return false
  }

  /** 32-bit paging, SDM 4.3. */
  private walk32(la: number, access: number, cr0: number, cr4: number): boolean {
    const { memory, path, pathLo } = this
    const pdeAt = ((this.state.view.getInt32(AT_CR3, true) & ~0xfff) >>> 0) + (la >>> 22) * 4
    const pde = memory.readU32(pdeAt)
    path[0] = pdeAt
    pathLo[0] = pde
    if ((pde & P) === 0) return this.fail(access, cr4, 0)
    if ((pde & PS) !== 0 && (cr4 & CR4_PSE) !== 0) {
      // PSE-36: bits 20:13 are address bits 39:32, as far as the physical address reaches.
      const high = (pde >>> 13) & 0xff
      const highBits = Math.min(8, this.physicalBits - 32)
      if ((pde & 0x20_0000) !== 0 || high >>> highBits !== 0) return this.fail(access, cr4, PageFaultCode.PRESENT | PageFaultCode.RESERVED)
      if (!this.finish(1, pde, false, access, cr0, cr4)) return false
      this.pageShift = 22
      this.gpaPage = high * TWO32 + (((pde & 0xffc0_0000) | (la & 0x003f_f000)) >>> 0)
      return true
    }
    const pteAt = ((pde & ~0xfff) >>> 0) + ((la >>> 12) & 0x3ff) * 4
    const pte = memory.readU32(pteAt)
    path[1] = pteAt
    pathLo[1] = pte
    if ((pte & P) === 0) return this.fail(access, cr4, 0)
    if (!this.finish(2, (pde & pte & (RW | US)) | (pte & ~(RW | US)), false, access, cr0, cr4)) return false
    this.pageShift = 12
    this.gpaPage = (pte & ~0xfff) >>> 0
    return true
  }

  /** PAE (SDM 4.4) and 4-level paging (SDM 4.5). */
  private walk64(la: number, laHi: number, access: number, cr0: number, cr4: number): boolean {
    const { memory, path, pathLo } = this
    const { view } = this.state
    const efer = view.getInt32(AT_EFER, true)
    const reservedHi = (efer & EFER_NXE) !== 0 ? this.reservedHi : this.reservedHi | NX
    const long = (efer & EFER_LMA) !== 0
    let level = long ? 3 : 1
    let table = long ? ((view.getInt32(AT_CR3, true) & ~0xfff) >>> 0) + (view.getInt32(AT_CR3 + 4, true) & 0xf_ffff) * TWO32 : this.paeDirectory(la)
    if (table < 0) return this.fail(access, cr4, table === -1 ? 0 : PageFaultCode.PRESENT | PageFaultCode.RESERVED)
    let rights = RW | US
    let noExecute = 0
    let depth = 0
    for (;;) {
      const index = level === 3 ? (laHi >>> 7) & 0x1ff
        : level === 2 ? ((laHi << 2) | (la >>> 30)) & 0x1ff
          : level === 1 ? (la >>> 21) & 0x1ff : (la >>> 12) & 0x1ff
      const at = table + index * 8
      const lo = memory.readU32(at)
      path[depth] = at
      pathLo[depth++] = lo
      if ((lo & P) === 0) return this.fail(access, cr4, 0)
      const hi = memory.readU32(at + 4)
      // In PAE paging bits 62:52 are reserved too; 4-level paging ignores them.
      const leaf = level === 0 || ((lo & PS) !== 0 && level <= 2)
      const badLo = level === 3 ? lo & PS : leaf && level === 2 ? lo & 0x3fff_e000 : leaf && level === 1 ? lo & 0x1f_e000 : 0
      if ((hi & reservedHi) !== 0 || badLo !== 0 || (!long && (hi & 0x7ff0_0000) !== 0)) {
        return this.fail(access, cr4, PageFaultCode.PRESENT | PageFaultCode.RESERVED)
      }
      rights &= lo
      noExecute |= hi & NX
      if (leaf) {
        if (!this.finish(depth, rights | (lo & ~(RW | US)), noExecute !== 0, access, cr0, cr4)) return false
        this.setLeaf(level, lo, hi, la)
        return true
      }
      table = ((lo & ~0xfff) >>> 0) + (hi & 0xf_ffff) * TWO32
      level--
    }
  }

  private setLeaf(level: number, lo: number, hi: number, la: number): void {
    const within = level === 0 ? 0 : level === 1 ? 0x1f_f000 : 0x3fff_f000
    this.pageShift = 12 + 9 * level
    this.gpaPage = (((lo & ~0xfff & ~within) | (la & within)) >>> 0) + (hi & 0xf_ffff) * TWO32
  }

  /** Page directory the PDPTE register for `la` names; -1 not present, -2 reserved bits. */
  private paeDirectory(la: number): number {
    const cr3 = this.state.lo('cr3')
    if (this.pdptesFor !== cr3) {
      this.pdptes.set(this.readPdptes(cr3))
      this.pdptesFor = cr3
    }
    const i = (la >>> 30) * 2
    const lo = this.pdptes[i]
    const hi = this.pdptes[i + 1]
    if ((lo & P) === 0) return -1
    if ((lo & PDPTE_RESERVED_LO) !== 0 || (hi & (this.reservedHi | 0xfff0_0000)) !== 0) return -2
    return ((lo & ~0xfff) >>> 0) + (hi & 0xf_ffff) * TWO32
  }

  /**
   * Rights of the whole path against the access (SDM 4.6), then accessed and dirty bits (SDM 4.8).
   * @param entry leaf entry, low half, with RW and US combined over the path
   */
  private finish(depth: number, entry: number, noExecute: boolean, access: number, cr0: number, cr4: number): boolean {
    const userPage = (entry & US) !== 0
    const mayWrite = (entry & RW) !== 0
    const user = (access & Access.USER) !== 0
    const writeAllowed = mayWrite || (!user && (cr0 & CR0_WP) === 0)
    let allowed = (!user || userPage) && ((access & Access.WRITE) === 0 || writeAllowed)
    if ((access & Access.FETCH) !== 0) {
      if (noExecute || (!user && userPage && (cr4 & CR4_SMEP) !== 0)) allowed = false
    } else if (!user && userPage && (cr4 & CR4_SMAP) !== 0 && (access & Access.SMAP_OVERRIDE) === 0) allowed = false
    if (!allowed) return this.fail(access, cr4, PageFaultCode.PRESENT)
    const leaf = this.pathLo[depth - 1]
    const write = (access & Access.WRITE) !== 0
    if ((access & Access.NO_UPDATE) === 0) this.markUsed(depth, write)
    this.dirty = (leaf & D) !== 0 || write
    this.writable = writeAllowed && this.dirty
    this.userPage = userPage
    this.executable = !noExecute
    this.global = (leaf & G) !== 0 && (cr4 & CR4_PGE) !== 0
    return true
  }

  private markUsed(depth: number, write: boolean): void {
    for (let i = 0; i < depth; i++) {
      const wanted = i === depth - 1 && write ? A | D : A
      if ((this.pathLo[i] & wanted) !== wanted) this.memory.writeU32(this.path[i], (this.pathLo[i] | wanted) >>> 0)
    }
  }
}

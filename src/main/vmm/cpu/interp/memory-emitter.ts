/**
 * Memory accesses of generated code: segment, TLB probe, slow path. Shared by every tier; where the effective address and
 * the segment come from is the subclass's matter.
 */
import type { MemRef, Val, Vec, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { probeTlb, probeTlb32, type Probe } from '../emit/wasm/tlb-probe'
import { VecEmitter } from '../emit/wasm/vec-emitter'
import type { ValType } from '../emit/wasm/opcodes'
import { offsetOf } from '../state/layout'
import { TlbEntry } from '../../mmu/tlb-layout'

/** A memory reference of generated code. Linear = effective address + segment base, after checks where `checked`. */
export interface WMem extends MemRef {
  readonly address: Node
  readonly segmentBase: Node
  /** Seg index, i32. */
  readonly segment: Node
  /** i32: nonzero where limit and rights must be checked; undefined: never. */
  readonly checked: Node | undefined
  /** Where most accesses need none of that: their linear address, how others are known (i32), and the reference made for those. */
  readonly plain?: { readonly linear: Node; readonly unless: Node; readonly otherwise: () => WMem }
}

/**
 * Functions the accesses call; each returns a Slow status.
 * - load (cpu, lo, hi, bytes | segment << 8, slot): the value comes in scratch[slot]
 * - store: the same, the value waits in scratch[slot]
 * - probe: as load, but the access must also be writable
 * - commit: as store, after a probe of the same bytes: cannot fault
 * - segment (cpu, segment, lo, hi, bytes | write << 8): linear address in scratch[7]
 */
export type SlowPath = AccessPath | 'segment'
export type AccessPath = 'load' | 'store' | 'probe' | 'commit'

/** Host address of bytes: of a node, and a number of bytes behind it. */
export interface HostPlace { readonly host: Node; readonly offset: number }

/** Byte count of an access: 1 to 16. */
export type Bytes = 1 | 2 | 4 | 8 | 16

const LOAD: Readonly<Record<Bytes, readonly [string, ValType]>> = {
  1: ['i32.load8_u', 'i32'], 2: ['i32.load16_u', 'i32'], 4: ['i32.load', 'i32'], 8: ['i64.load', 'i64'], 16: ['v128.load', 'v128'],
}
const STORE: Readonly<Record<Bytes, string>> = { 1: 'i32.store8', 2: 'i32.store16', 4: 'i32.store', 8: 'i64.store', 16: 'v128.store' }

/** Scratch slots: plain accesses use 0–1, read-modify-write keeps its value in 4–5, segment checks answer in 7. */
const PLAIN_SLOT = 0
const UPDATE_SLOT = 4
const SEGMENT_SLOT = 7

export const bytesOf = (width: Width): Bytes => (width === 1 ? 1 : (width / 8)) as Bytes

export abstract class MemoryEmitter extends VecEmitter {
  constructor(protected readonly f: FunctionBuilder, protected readonly cpu: Node) {
    super()
  }

  protected abstract callSlow(path: SlowPath, args: readonly Node[]): Node
  /** Calls the slow path of an access. @param access bytes | Seg index << 8 */
  protected abstract callAccess(path: AccessPath, linear: Node, access: Node, slot: number): Node

  /** Legacy modes: linear addresses have 32 bits. */
  protected readonly narrowLinear: boolean = false

  protected tlbBase(): Node {
    return this.stateLoad('i32.load', 'i32', 'tlbBase')
  }

  /** Ends the function with the pending exception. */
  protected abstract exitFault(): void

  /**
   * Where the bytes of an access stand, if the code built here goes on only where that is known. Undefined: the access probes
   * the TLB and has a slow path.
   */
  protected placeOf(_linear: Node, _bytes: Bytes, _write: boolean): HostPlace | undefined {
    return undefined
  }

  protected stateLoad(op: string, type: ValType, name: Parameters<typeof offsetOf>[0], index = 0): Node {
    return this.f.load(op, type, this.cpu, offsetOf(name, index))
  }

  private failIf(status: Node): void {
    this.f.unlikely(status, () => { this.exitFault() })
  }

  /** Linear address of an access; i64, in a local. */
  protected linear(mem: WMem, bytes: Bytes, write: boolean): Node {
    const { f } = this
    const { plain } = mem
    if (plain) {
      const result = f.newLocal('i64')
      f.setLocal(result, plain.linear)
      f.unlikely(plain.unless, () => f.setLocal(result, this.linear(plain.otherwise(), bytes, write)))
      return f.finalLocal(result)
    }
    const sum = f.pure('i64.add', 'i64', [mem.address, mem.segmentBase])
    if (!mem.checked) return sum
    const local = f.newLocal('i64')
    f.setLocal(local, sum)
    f.if(mem.checked, () => {
      f.unlikely(f.pure('i32.eqz', 'i32', [this.isFlat(mem)]), () => {
        const args = [this.cpu, mem.segment, ...this.halves(mem.address), f.i32(bytes | (write ? 0x100 : 0))]
        this.failIf(this.callSlow('segment', args))
        f.setLocal(local, this.stateLoad('i64.load', 'i64', 'scratch', SEGMENT_SLOT))
      })
    })
    return f.finalLocal(local)
  }

  /** Whether the segment's limit and rights allow everything (i32). */
  protected isFlat({ segment }: WMem): Node {
    const { f } = this
    const at = f.pure('i32.add', 'i32', [this.cpu, f.pure('i32.shl', 'i32', [segment, f.i32(2)])])
    return f.load('i32.load', 'i32', at, offsetOf('segFlat'))
  }

  protected halves(address: Node): [Node, Node] {
    const { f } = this
    const high = f.pure('i64.shr_u', 'i64', [address, f.i64(32n)])
    return [f.pure('i32.wrap_i64', 'i32', [address]), f.pure('i32.wrap_i64', 'i32', [high])]
  }

  /** TLB probe: whether an entry serves the access, the page of its last byte, and the host address if so. */
  protected probe(linear: Node, bytes: Bytes, tagOffset: number, grows = false): Probe {
    const probed = { tlbBase: this.tlbBase(), bytes, tagOffset, grows }
    if (this.narrowLinear && linear.op === 'i64.extend_i32_u') return probeTlb32(this.f, { ...probed, linear: linear.args[0] })
    return probeTlb(this.f, { ...probed, linear })
  }

  /** The slow path is told the segment too: it decides between #SS and #GP. */
  private slow(path: AccessPath, linear: Node, mem: WMem, bytes: Bytes, slot: number): void {
    const { f } = this
    const access = f.pure('i32.or', 'i32', [f.i32(bytes), f.pure('i32.shl', 'i32', [mem.segment, f.i32(8)])])
    this.failIf(this.callAccess(path, linear, access, slot))
  }

  private read(mem: WMem, bytes: Bytes): Node {
    const { f } = this
    const [op, type] = LOAD[bytes]
    const linear = this.linear(mem, bytes, false)
    const place = this.placeOf(linear, bytes, false)
    if (place) return f.load(op, type, place.host, place.offset)
    const { hit, host, offset } = this.probe(linear, bytes, TlbEntry.readTag)
    const result = f.newLocal(type)
    f.likely(hit, () => f.setLocal(result, f.load(op, type, host(), offset)), () => {
      this.slow('load', linear, mem, bytes, PLAIN_SLOT)
      f.setLocal(result, this.stateLoad(op, type, 'scratch', PLAIN_SLOT))
    })
    return f.finalLocal(result)
  }

  private write(mem: WMem, bytes: Bytes, value: Node): void {
    const { f } = this
    const linear = this.linear(mem, bytes, true)
    const place = this.placeOf(linear, bytes, true)
    if (place) return f.store(STORE[bytes], place.host, value, place.offset)
    const { hit, host, offset } = this.probe(linear, bytes, TlbEntry.writeTag)
    f.likely(hit, () => f.store(STORE[bytes], host(), value, offset), () => {
      f.store(STORE[bytes], this.cpu, value, offsetOf('scratch', PLAIN_SLOT))
      this.slow('store', linear, mem, bytes, PLAIN_SLOT)
    })
  }

  /** Checks both rights, reads, and returns how to write back; nothing can fault in between. */
  protected beginUpdate(mem: WMem, bytes: Bytes): { old: Node; finish: (value: Node) => void } {
    const { f } = this
    const [op, type] = LOAD[bytes]
    const linear = this.linear(mem, bytes, true)
    const known = this.placeOf(linear, bytes, true)
    if (known) return { old: f.load(op, type, known.host, known.offset), finish: (value) => f.store(STORE[bytes], known.host, value, known.offset) }
    const { hit, host, offset } = this.probe(linear, bytes, TlbEntry.writeTag)
    const place = f.newLocal('i32')
    const isSlow = f.newLocal('i32')
    f.setLocal(isSlow, f.i32(0))
    f.likely(hit, () => f.setLocal(place, f.pure('i32.add', 'i32', [host(), f.i32(offset)])), () => {
      this.slow('probe', linear, mem, bytes, UPDATE_SLOT)
      f.setLocal(place, f.pure('i32.add', 'i32', [this.cpu, f.i32(offsetOf('scratch', UPDATE_SLOT))]))
      f.setLocal(isSlow, f.i32(1))
    })
    const old = f.load(op, type, f.finalLocal(place))
    const finish = (value: Node): void => {
      f.store(STORE[bytes], f.finalLocal(place), value)
      f.unlikely(f.finalLocal(isSlow), () => this.slow('commit', linear, mem, bytes, UPDATE_SLOT))
    }
    return { old, finish }
  }

  linearAddress(at: MemRef): Val {
    const mem = at as unknown as WMem
    return this.wrap(64, this.f.pure('i64.add', 'i64', [mem.address, mem.segmentBase]), true)
  }

  segmentNumber(at: MemRef): Val {
    return this.wrap(32, (at as unknown as WMem).segment, true)
  }

  load(width: Width, at: MemRef): Val {
    return this.wrap(width, this.read(at as WMem, bytesOf(width)), true)
  }

  store(at: MemRef, value: Val): void {
    this.write(at as WMem, bytesOf(value.width), this.raw(value))
  }

  update(width: Width, at: MemRef, change: (old: Val) => Val): void {
    const { old, finish } = this.beginUpdate(at as WMem, bytesOf(width))
    finish(this.raw(change(this.wrap(width, old, true))))
  }

  loadVec(at: MemRef): Vec {
    return this.vecOf(this.read(at as WMem, 16))
  }

  storeVec(at: MemRef, value: Vec): void {
    this.write(at as WMem, 16, this.nodeOf(value))
  }
}

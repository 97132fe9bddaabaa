/**
 * The jump cache: where jumps to an address known only at run time went last, by target. An entry is good while its epoch is
 * that of its kind of code: supervisor code counts changes of global pages,
 * and CR3 loads only where it ran in other ones, so that a kernel keeps its entries over CR3 loads.
 */
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { FIELDS, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'

const ENTRIES = FIELDS.jumps.count
const AT_JUMPS = offsetOf('jumps')
/** Byte offsets in an entry of 16. */
const Jump = { target: AT_JUMPS, record: AT_JUMPS + 8, epoch: AT_JUMPS + 12 } as const

/** Epochs go up in steps of this, and mode keys are below it. */
export const EPOCH_STEP = 512

/** Which of the two epochs code of a mode goes by. */
export const epochIndex = (modeKey: number): 0 | 1 => ((modeKey & Mode.USER) !== 0 ? 1 : 0)

/** Address of a target's entry, less AT_JUMPS. */
function entryOf(f: FunctionBuilder, cpu: Node, target: Node): Node {
  const low = f.pure('i32.wrap_i64', 'i32', [target])
  const hash = f.pure('i32.xor', 'i32', [low, f.pure('i32.shr_u', 'i32', [low, f.i32(8)])])
  const slot = f.pure('i32.shl', 'i32', [f.pure('i32.and', 'i32', [hash, f.i32(ENTRIES - 1)]), f.i32(4)])
  return f.pure('i32.add', 'i32', [cpu, slot])
}

/** In code of a known mode: runs `hit` with the record of a target that is in the cache. */
export function probeJump(f: FunctionBuilder, cpu: Node, target: Node, modeKey: number, hit: (record: Node) => void): void {
  const entry = entryOf(f, cpu, target)
  const epoch = f.load('i32.load', 'i32', cpu, offsetOf('codeEpoch', epochIndex(modeKey)))
  const now = f.pure('i32.add', 'i32', [epoch, f.i32(modeKey)])
  const same = f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, Jump.target), target])
  const fresh = f.pure('i32.eq', 'i32', [f.load('i32.load', 'i32', entry, Jump.epoch), now])
  // One condition of both would be made of two bytes that are set, widened and tested.
  f.likely(same, () => f.likely(fresh, () => hit(f.load('i32.load', 'i32', entry, Jump.record))))
}

/** What the epoch of an entry must be now, in code that serves every mode. */
function epochOfMode(f: FunctionBuilder, cpu: Node): Node {
  const modeKey = f.load('i32.load', 'i32', cpu, offsetOf('modeKey'))
  const user = f.pure('i32.and', 'i32', [f.pure('i32.shr_u', 'i32', [modeKey, f.i32(Math.log2(Mode.USER))]), f.i32(1)])
  const cell = f.pure('i32.add', 'i32', [cpu, f.pure('i32.shl', 'i32', [user, f.i32(2)])])
  return f.pure('i32.add', 'i32', [f.load('i32.load', 'i32', cell, offsetOf('codeEpoch')), modeKey])
}

/** As `probeJump`, in code that serves every mode. */
export function probeJumpOfMode(f: FunctionBuilder, cpu: Node, target: Node, hit: (record: Node) => void): void {
  const entry = entryOf(f, cpu, target)
  const same = f.pure('i64.eq', 'i32', [f.load('i64.load', 'i64', entry, Jump.target), target])
  f.if(same, () => {
    const fresh = f.pure('i32.eq', 'i32', [f.load('i32.load', 'i32', entry, Jump.epoch), epochOfMode(f, cpu)])
    f.if(fresh, () => hit(f.load('i32.load', 'i32', entry, Jump.record)))
  })
}

/** In code that serves every mode: keeps where a jump went. */
export function keepJump(f: FunctionBuilder, cpu: Node, target: Node, record: Node): void {
  const entry = entryOf(f, cpu, target)
  f.store('i64.store', entry, target, Jump.target)
  f.store('i32.store', entry, record, Jump.record)
  f.store('i32.store', entry, epochOfMode(f, cpu), Jump.epoch)
}

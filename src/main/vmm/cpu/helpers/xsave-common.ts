/**
 * What XSAVE and XRSTOR of a switch of processes come to: all of the x87 and SSE states, in an area that lies in one page the TLB
 * has, in flat segments. SDM vol. 1, 13.4 and 13.7 to 13.9; the image's first 160 bytes as in table 10-2.
 */
import type { HelperEmitter, Val } from '../emit/emitter'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { AREA, BOTH, CR0_TS, CR4_OSXSAVE, HEADER } from './xsave-area'
import { AT_IMAGE, MXCSR_MASK } from './fpu-state'

const XMM_BYTES = 16

/** Arguments of the helpers: segment, effective address, requested components, 1 for 64-bit pointers. */
interface Area {
  /** Host address of the area. */
  readonly host: Val
  /** Width 1: with 64-bit pointers. */
  readonly wide: Val
}

const zero = (e: HelperEmitter, value: Val): Val => e.eq(value, e.const(value.width, 0))
const masked = (e: HelperEmitter, value: Val, mask: number | bigint): Val => e.and(value, e.const(value.width, mask))

/** Goes on where this is the common case. */
function findArea(e: HelperEmitter, write: boolean): Area {
  const demand = (condition: Val): void => e.if(e.isZero(condition), () => e.fallBack())
  const [segment, address, requested] = [e.argument(0), e.argument(1), e.argument(2)]
  demand(e.ne(masked(e, e.field('modeKey'), Mode.FLAT), e.const(32, 0)))
  demand(e.ltu(segment, e.const(32, Seg.FS)))
  demand(e.ne(masked(e, e.field('cr4'), CR4_OSXSAVE), e.const(64, 0)))
  demand(zero(e, masked(e, e.field('cr0'), CR0_TS)))
  demand(e.eq(e.and(requested, e.field('xcr0')), e.const(64, BOTH)))
  // Aligned areas of 576 bytes that begin here are within their page.
  const offset = masked(e, e.trunc(address, 32), 0xfff)
  demand(zero(e, masked(e, offset, 63)))
  demand(e.ltu(offset, e.const(32, 0x1001 - AREA)))
  const host = e.hostOf(address, write)
  demand(e.ne(host, e.const(32, 0)))
  return { host, wide: e.trunc(e.argument(3), 1) }
}

/** Physical number of ST(`st`). */
const physical = (e: HelperEmitter, top: Val, st: number): Val => masked(e, e.add(top, e.const(32, st)), 7)
const topOf = (e: HelperEmitter, fsw: Val): Val => masked(e, e.shr(fsw, e.const(32, 11)), 7)

/** The image has eight XMM registers outside 64-bit mode: what the others hold stays as it is, there and here. */
function moveXmm(e: HelperEmitter, move: (length: Val) => void): void {
  const all = e.ne(masked(e, e.field('modeKey'), Mode.CODE64), e.const(32, 0))
  move(e.select(all, e.const(32, 16 * XMM_BYTES), e.const(32, 8 * XMM_BYTES)))
}

export function commonXsave(e: HelperEmitter): void {
  const { host, wide } = findArea(e, true)
  const put = (width: 8 | 16 | 32, value: Val, at: number): void => e.hostStore(host, width === 32 ? value : e.trunc(value, width), at)
  put(16, e.field('fcw'), AT_IMAGE.fcw)
  put(16, e.field('fsw'), AT_IMAGE.fsw)
  put(8, e.field('ftw'), AT_IMAGE.ftw)
  put(16, e.field('fpOpcode'), AT_IMAGE.opcode)
  e.if(wide, () => {
    e.hostStore(host, e.field('fpIp'), AT_IMAGE.ip)
    e.hostStore(host, e.field('fpDp'), AT_IMAGE.dp)
  }, () => {
    put(32, e.trunc(e.field('fpIp'), 32), AT_IMAGE.ip)
    put(16, e.field('fpCs'), AT_IMAGE.cs)
    put(32, e.trunc(e.field('fpDp'), 32), AT_IMAGE.dp)
    put(16, e.field('fpDs'), AT_IMAGE.ds)
  })
  put(32, e.field('mxcsr'), AT_IMAGE.mxcsr)
  put(32, e.const(32, MXCSR_MASK), AT_IMAGE.mxcsr + 4)
  const top = topOf(e, e.field('fsw'))
  for (let st = 0; st < 8; st++) {
    const register = physical(e, top, st)
    e.hostStore(host, e.element('fpr', register, 64), AT_IMAGE.registers + 16 * st)
    e.hostStore(host, e.element('fpr', register, 16, 8), AT_IMAGE.registers + 16 * st + 8)
  }
  moveXmm(e, (length) => e.moveBytes(e.add(host, e.const(32, AT_IMAGE.xmm)), e.placeOf('xmm'), length))
  e.hostStore(host, e.or(e.hostLoad(32, host, HEADER), e.const(32, BOTH)), HEADER)
  e.finish()
}

/** Components in their initial state and images with reserved bits are TypeScript's. */
function checkImage(e: HelperEmitter, host: Val): void {
  const words = [e.eq(e.hostLoad(64, host, HEADER), e.const(64, BOTH)), ...[8, 16].map((at) => zero(e, e.hostLoad(64, host, HEADER + at)))]
  const mxcsr = zero(e, masked(e, e.hostLoad(32, host, AT_IMAGE.mxcsr), ~MXCSR_MASK))
  e.if(e.isZero(words.reduce((a, b) => e.and(a, b), mxcsr)), () => e.fallBack())
}

export function commonXrstor(e: HelperEmitter): void {
  const { host, wide } = findArea(e, false)
  checkImage(e, host)
  const get = (width: 8 | 16 | 32, at: number): Val => e.zext(e.hostLoad(width, host, at), 32)
  e.setField('mxcsr', get(32, AT_IMAGE.mxcsr))
  const fsw = get(16, AT_IMAGE.fsw)
  e.setField('fcw', get(16, AT_IMAGE.fcw))
  e.setField('fsw', fsw)
  e.setField('ftw', get(8, AT_IMAGE.ftw))
  e.setField('fpOpcode', masked(e, get(16, AT_IMAGE.opcode), 0x7ff))
  e.if(wide, () => {
    e.setField('fpIp', e.hostLoad(64, host, AT_IMAGE.ip))
    e.setField('fpDp', e.hostLoad(64, host, AT_IMAGE.dp))
  }, () => {
    e.setField('fpIp', e.zext(get(32, AT_IMAGE.ip), 64))
    e.setField('fpCs', get(16, AT_IMAGE.cs))
    e.setField('fpDp', e.zext(get(32, AT_IMAGE.dp), 64))
    e.setField('fpDs', get(16, AT_IMAGE.ds))
  })
  const top = topOf(e, fsw)
  for (let st = 0; st < 8; st++) {
    const register = physical(e, top, st)
    e.setElement('fpr', register, e.hostLoad(64, host, AT_IMAGE.registers + 16 * st))
    e.setElement('fpr', register, e.hostLoad(16, host, AT_IMAGE.registers + 16 * st + 8), 8)
  }
  moveXmm(e, (length) => e.moveBytes(e.placeOf('xmm'), e.add(host, e.const(32, AT_IMAGE.xmm)), length))
  e.finish()
}

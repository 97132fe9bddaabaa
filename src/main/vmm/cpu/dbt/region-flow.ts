/** The flow of control around a hot head: what can be reached from it in its page, calls and returns included. */
import { PAGE_SIZE } from '../../memory/frame-table'
import type { DecodedInsn } from '../decode/types'
import type { BlockEnd, RegionBlock, RegionInsn } from './region'

/** More instructions than this do not pay: the host's compiler slows down, and only some of them are hot. */
const MAX_INSNS = 280
/** Functions that are called are taken along up to this size. */
const MAX_CALLEE = 80
/** A return is compared with the places it may go to one by one. */
const MAX_SITES = 6
/** Places where a region may be entered beside its head. */
const MAX_ENTRIES = 10

type DecodeAt = (offset: number) => DecodedInsn | undefined

export interface Flow {
  /** Blocks from which the region's loops can be reached, in address order. */
  readonly blocks: readonly RegionBlock[]
  readonly at: ReadonlyMap<number, number>
  /** Page offsets of functions called from within. */
  readonly calls: readonly number[]
  readonly returns: ReadonlyMap<number, readonly number[]>
  /** Page offsets that calls out of the region return to. */
  readonly entries: readonly number[]
}

const isConditional = ({ row }: DecodedInsn): boolean => row.ends === 'branch' && /^(J(?!MP)|LOOP)/.test(row.mnemonic)

function endOf(insn: DecodedInsn): BlockEnd {
  if (!insn.row.ends) return 'falls'
  if (insn.row.ends !== 'branch') return 'other'
  if (isConditional(insn)) return 'branch'
  if (insn.row.mnemonic === 'CALL') return 'call'
  if (insn.row.mnemonic === 'RET') return 'return'
  return insn.row.mnemonic === 'JMP' ? 'jump' : 'other'
}

/** Page offset of a relative branch's target; undefined for other instructions and where the target may wrap. */
function targetOf({ insn, offset }: RegionInsn): number | undefined {
  const operand = insn.operands.find((o) => o.kind === 'rel')
  if (operand?.kind !== 'rel' || insn.form.size === 16) return undefined
  return offset + insn.length + Number(operand.displacement)
}

/** What is looked for around a head: `any` code for tests, which run every instruction on this tier. */
export type Shape = 'loop' | 'any'

/**
 * @param decode the instruction at a page offset; undefined where none lies wholly in the page or it must not be translated
 * @param warm true where code at a page offset is jumped to often: rare ways out are not worth translating again
 */
export function collect(decode: DecodeAt, warm: (offset: number) => boolean, head: number, shape: Shape): Flow | undefined {
  const known = new Map<number, DecodedInsn | undefined>()
  const decodeAt: DecodeAt = (offset) => {
    if (!known.has(offset)) known.set(offset, decode(offset))
    return known.get(offset)
  }
  const walked = new Walk(decodeAt, warm)
  walked.run(head)
  const blocks = walked.insns.has(head) ? splitBlocks(walked.insns, walked.leaders) : undefined
  return blocks && reduce(blocks, walked.callees, head, shape)
}

/** Everything reachable from a head by static jumps forward of it, and from the functions called in the same way. */
class Walk {
  readonly insns = new Map<number, RegionInsn>()
  readonly leaders = new Set<number>()
  readonly callees = new Set<number>()
  private readonly open: { readonly start: number; readonly floor: number }[] = []

  constructor(
    private readonly decodeAt: DecodeAt, private readonly warm: (offset: number) => boolean,
    private readonly limit = MAX_INSNS, private readonly follow = true,
  ) {}

  run(head: number): void {
    this.lead(head, head)
    for (let next = this.open.pop(); next; next = this.open.pop()) this.stretch(next.start, next.floor)
  }

  private lead(to: number | undefined, floor: number): void {
    if (to === undefined || to < floor || to >= PAGE_SIZE || this.leaders.has(to)) return
    this.leaders.add(to)
    this.open.push({ start: to, floor })
  }

  private stretch(start: number, floor: number): void {
    for (let offset = start; !this.insns.has(offset);) {
      const insn = this.decodeAt(offset)
      if (!insn || this.insns.size >= this.limit) return
      const one = { insn, offset }
      this.insns.set(offset, one)
      offset += insn.length
      const end = endOf(insn)
      if (end === 'falls') continue
      if (end === 'call') this.call(targetOf(one))
      if (end === 'branch' || end === 'call') this.lead(offset, floor)
      if (end === 'branch' || end === 'jump') this.jump(targetOf(one), floor)
      return
    }
  }

  private jump(to: number | undefined, floor: number): void {
    if (to !== undefined && this.warm(to)) this.lead(to, floor)
  }

  private call(to: number | undefined): void {
    if (!this.follow || to === undefined || to < 0 || to >= PAGE_SIZE || this.callees.has(to) || !this.warm(to)) return
    if (!this.leaders.has(to) && !this.isSmall(to)) return
    this.callees.add(to)
    this.lead(to, to)
  }

  /** A function that fits, and returns. */
  private isSmall(to: number): boolean {
    const trial = new Walk(this.decodeAt, this.warm, MAX_CALLEE, false)
    trial.run(to)
    const { size } = trial.insns
    return size < MAX_CALLEE && this.insns.size + size <= this.limit && [...trial.insns.values()].some(({ insn }) => endOf(insn) === 'return')
  }
}

/** Basic blocks in address order. Undefined where instructions overlap: the jump goes into the middle of one. */
function splitBlocks(insns: ReadonlyMap<number, RegionInsn>, leaders: ReadonlySet<number>): RegionBlock[] | undefined {
  const sorted = [...insns.values()].sort((a, b) => a.offset - b.offset)
  const blocks: RegionBlock[] = []
  let block: RegionInsn[] = []
  const close = (): void => {
    if (block.length === 0) return
    const last = block[block.length - 1]
    blocks.push({ offset: block[0].offset, insns: block, end: last.offset + last.insn.length, ends: endOf(last.insn), target: targetOf(last) })
    block = []
  }
  let end = 0
  for (const one of sorted) {
    if (one.offset < end) return undefined
    if (leaders.has(one.offset) || one.offset !== end) close()
    block.push(one)
    end = one.offset + one.insn.length
    if (one.insn.row.ends) close()
  }
  close()
  return blocks
}

const indexOf = (blocks: readonly RegionBlock[]): Map<number, number> => new Map(blocks.map((block, i) => [block.offset, i]))

/** Where control may go from each block, as indices. */
function successors(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>, returns: ReadonlyMap<number, readonly number[]>): number[][] {
  return blocks.map(({ ends, end, target }, i) => {
    const to = target === undefined ? undefined : at.get(target)
    const next = ends === 'falls' || ends === 'branch' || ends === 'call' ? at.get(end) : undefined
    return [to, next, ...(returns.get(i) ?? [])].filter((index) => index !== undefined)
  })
}

/** Indices reachable from `starts` by at least no step. */
function reachable(starts: readonly number[], edges: readonly (readonly number[])[]): Set<number> {
  const seen = new Set(starts)
  const open = [...starts]
  for (let from = open.pop(); from !== undefined; from = open.pop()) {
    for (const to of edges[from]) {
      if (seen.has(to)) continue
      seen.add(to)
      open.push(to)
    }
  }
  return seen
}

/** For each return, the places behind the calls of the functions it belongs to. */
function findReturns(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>, callees: Iterable<number>): Map<number, readonly number[]> {
  const within = successors(blocks, at, new Map()).map((to, i) => (blocks[i].ends === 'call' ? to.filter((index) => blocks[index].offset === blocks[i].end) : to))
  const returns = new Map<number, number[]>()
  for (const callee of callees) {
    const entry = at.get(callee)
    if (entry === undefined) continue
    const sites = blocks.filter(({ ends, target }) => ends === 'call' && target === callee).flatMap(({ end }) => at.get(end) ?? [])
    for (const index of reachable([entry], within)) {
      if (blocks[index].ends === 'return') returns.set(index, [...new Set([...(returns.get(index) ?? []), ...sites])])
    }
  }
  return returns
}

/** Keeps the blocks from which a loop can be reached. Undefined where there is none, or the head is not among them. */
function reduce(all: readonly RegionBlock[], callees: ReadonlySet<number>, head: number, shape: Shape): Flow | undefined {
  const allAt = indexOf(all)
  const edges = successors(all, allAt, findReturns(all, allAt, callees))
  const cyclic = all.map((_, i) => reachable(edges[i], edges).has(i))
  const blocks = shape === 'any' ? all : all.filter((_, i) => [...reachable([i], edges)].some((to) => cyclic[to]))
  const at = indexOf(blocks)
  if (!at.has(head)) return undefined
  const returns = new Map([...findReturns(blocks, at, callees)].map(([from, sites]) => [from, sites.slice(0, MAX_SITES)]))
  const entries = blocks.filter(({ ends, target, end }) => ends === 'call' && at.has(end) && !(target !== undefined && callees.has(target) && at.has(target)))
  return { blocks, at, returns, calls: [...callees].filter((offset) => at.has(offset)), entries: entries.map(({ end }) => end).slice(0, MAX_ENTRIES) }
}

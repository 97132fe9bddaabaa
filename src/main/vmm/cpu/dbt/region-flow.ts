/** The flow of control around a hot head: what can be reached from it in its page and those near, calls and returns included. */
import type { DecodedInsn } from '../decode/types'
import { pageOf } from './code-window'
import type { BlockEnd, RegionBlock, RegionInsn } from './region'

/** More instructions than this do not pay: the host's compiler slows down, and only some of them are hot. */
const MAX_INSNS = 280
/** Functions that are called are taken along up to this size. */
const MAX_CALLEE = 80
/** A return is compared with the places it may go to one by one. */
const MAX_SITES = 6
/** Places where a region may be entered beside its head. */
const MAX_ENTRIES = 10

/** The code around a hot head. Offsets count from its page, and may lie in another one. */
export interface RegionCode {
  /** The instruction at an offset; undefined where none lies wholly in known pages or it must not be translated. */
  decode(offset: number): DecodedInsn | undefined
  /** True where code at an offset is jumped to often: rare ways out are not worth translating again. */
  warm(offset: number): boolean
  /** Where the jump at an offset went last whose target is known at run time only. */
  wentTo(offset: number): number | undefined
}

/** Pages beside the head's that a region may be made from. */
export const MAX_PAGES = 8

export interface Flow {
  /** Blocks from which the region's loops can be reached, in address order. */
  readonly blocks: readonly RegionBlock[]
  readonly at: ReadonlyMap<number, number>
  /** Offsets of functions called from within. */
  readonly calls: readonly number[]
  /** For blocks that end in a jump to an address known at run time: indices of the blocks it may go to. */
  readonly goes: ReadonlyMap<number, readonly number[]>
  /** Offsets in the head's page that calls out of the region return to. */
  readonly entries: readonly number[]
}

const isConditional = ({ row }: DecodedInsn): boolean => row.ends === 'branch' && /^(J(?!MP)|LOOP)/.test(row.mnemonic)

function endOf(insn: DecodedInsn): BlockEnd {
  if (!insn.row.ends || insn.row.ends === 'changed') return 'falls'
  if (insn.row.ends !== 'branch') return 'other'
  if (isConditional(insn)) return 'branch'
  if (insn.row.mnemonic === 'CALL') return 'call'
  if (insn.row.mnemonic === 'RET') return 'return'
  return insn.row.mnemonic === 'JMP' ? 'jump' : 'other'
}

/** Offset of a relative branch's target; undefined for other instructions and where the target may wrap. */
function targetOf({ insn, offset }: RegionInsn): number | undefined {
  const operand = insn.operands.find((o) => o.kind === 'rel')
  if (operand?.kind !== 'rel' || insn.form.size === 16) return undefined
  return offset + insn.length + Number(operand.displacement)
}

/** A jump or call whose target is known at run time only. */
const isDynamic = (insn: DecodedInsn): boolean => (insn.row.mnemonic === 'CALL' || insn.row.mnemonic === 'JMP') && insn.row.ends === 'branch' && !insn.operands.some(({ kind }) => kind === 'rel')

/** Offset of the static or else the likely target. */
const goesTo = ({ target, likely }: RegionBlock): number | undefined => target ?? likely

/** What is looked for around a head: `any` code for tests, which run every instruction on this tier. */
export type Shape = 'loop' | 'any'

export function collect(code: RegionCode, head: number, shape: Shape): Flow | undefined {
  const known = new Map<number, DecodedInsn | undefined>()
  const decode = (offset: number): DecodedInsn | undefined => {
    if (!known.has(offset)) known.set(offset, code.decode(offset))
    return known.get(offset)
  }
  const walked = new Walk({ decode, warm: (offset) => code.warm(offset), wentTo: (offset) => code.wentTo(offset) })
  walked.run(head)
  const blocks = walked.insns.has(head) ? splitBlocks(walked) : undefined
  return blocks && reduce(blocks, walked.callees, head, shape)
}

/**
 * Everything reachable from a head by jumps forward of it, and from the functions called in the same way. What is near comes first: where
 * not all fits, paths that end far away are what is left out.
 */
class Walk {
  readonly insns = new Map<number, RegionInsn>()
  readonly leaders = new Set<number>()
  readonly callees = new Set<number>()
  /** Where a jump or call at an offset goes most likely, if that is only known at run time. */
  readonly likely = new Map<number, number>()
  private readonly pages = new Set<number>()
  private readonly open: { readonly start: number; readonly floor: number }[] = []

  constructor(private readonly code: RegionCode, private readonly limit = MAX_INSNS, private readonly follow = true) {}

  run(head: number): void {
    this.lead(head, head)
    for (let next = this.open.shift(); next; next = this.open.shift()) this.stretch(next.start, next.floor)
  }

  private lead(to: number | undefined, floor: number): void {
    if (to === undefined || to < floor || this.leaders.has(to) || !this.takePage(to)) return
    this.leaders.add(to)
    this.open.push({ start: to, floor })
  }

  /** True where the page of an offset may be part of the region. */
  private takePage(offset: number): boolean {
    const page = pageOf(offset)
    if (!this.pages.has(page) && this.pages.size > MAX_PAGES) return false
    this.pages.add(page)
    return true
  }

  private stretch(start: number, floor: number): void {
    for (let offset = start; !this.insns.has(offset);) {
      const insn = this.code.decode(offset)
      if (!insn || this.insns.size >= this.limit || !this.takePage(offset) || !this.takePage(offset + insn.length - 1)) return
      const one = { insn, offset }
      this.insns.set(offset, one)
      offset += insn.length
      const end = endOf(insn)
      if (end === 'falls') continue
      this.follows(one, end, floor)
      return
    }
  }

  private follows(one: RegionInsn, end: BlockEnd, floor: number): void {
    const target = targetOf(one)
    const likely = isDynamic(one.insn) ? this.code.wentTo(one.offset) : undefined
    if (end === 'call') this.call(target ?? likely)
    if (end === 'branch' || end === 'call') this.lead(one.offset + one.insn.length, floor)
    if (end === 'branch' || end === 'jump') this.jump(target ?? likely, floor)
    if (likely !== undefined) this.likely.set(one.offset, likely)
  }

  private jump(to: number | undefined, floor: number): void {
    if (to !== undefined && this.code.warm(to)) this.lead(to, floor)
  }

  private call(to: number | undefined): void {
    if (!this.follow || to === undefined || this.callees.has(to) || !this.code.warm(to)) return
    if (!this.leaders.has(to) && !this.isSmall(to)) return
    this.callees.add(to)
    this.lead(to, to)
  }

  /** A function that fits, and returns. */
  private isSmall(to: number): boolean {
    const trial = new Walk(this.code, MAX_CALLEE, false)
    trial.run(to)
    const { size } = trial.insns
    return size < MAX_CALLEE && this.insns.size + size <= this.limit && [...trial.insns.values()].some(({ insn }) => endOf(insn) === 'return')
  }
}

/** The pages an instruction lies in, as one number. */
const pagesOf = ({ insn, offset }: RegionInsn): number => pageOf(offset) + pageOf(offset + insn.length - 1)

/**
 * Basic blocks in address order; one lies in one page, or is an instruction that crosses to the next. Undefined where instructions
 * overlap: the jump goes into the middle of one.
 */
function splitBlocks({ insns, leaders, likely }: Walk): RegionBlock[] | undefined {
  const sorted = [...insns.values()].sort((a, b) => a.offset - b.offset)
  const blocks: RegionBlock[] = []
  let block: RegionInsn[] = []
  const close = (): void => {
    if (block.length === 0) return
    const last = block[block.length - 1]
    blocks.push({ offset: block[0].offset, insns: block, end: last.offset + last.insn.length, ends: endOf(last.insn), target: targetOf(last), likely: likely.get(last.offset) })
    block = []
  }
  let end = -Infinity
  for (const one of sorted) {
    if (one.offset < end) return undefined
    if (leaders.has(one.offset) || one.offset !== end || (block.length > 0 && pagesOf(block[0]) !== pagesOf(one))) close()
    block.push(one)
    end = one.offset + one.insn.length
    if (endOf(one.insn) !== 'falls') close()
  }
  close()
  return blocks
}

const indexOf = (blocks: readonly RegionBlock[]): Map<number, number> => new Map(blocks.map((block, i) => [block.offset, i]))

/** Where control may go from each block, as indices. */
function successors(blocks: readonly RegionBlock[], at: ReadonlyMap<number, number>, returns: ReadonlyMap<number, readonly number[]>): number[][] {
  return blocks.map((block, i) => {
    const { ends, end } = block
    const target = goesTo(block)
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
    const sites = blocks.filter((block) => block.ends === 'call' && goesTo(block) === callee).flatMap(({ end }) => at.get(end) ?? [])
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
  const goes = new Map([...findReturns(blocks, at, callees)].map(([from, sites]) => [from, sites.slice(0, MAX_SITES)]))
  blocks.forEach(({ likely }, from) => {
    const to = likely === undefined ? undefined : at.get(likely)
    if (to !== undefined) goes.set(from, [to])
  })
  // A call whose target is only likely may well go elsewhere.
  const within = (target: number | undefined): boolean => target !== undefined && callees.has(target) && at.has(target)
  const entries = blocks.filter(({ ends, target, end }) => ends === 'call' && pageOf(end) === 0 && at.has(end) && !within(target))
  return { blocks, at, goes, calls: [...callees].filter((offset) => at.has(offset)), entries: entries.map(({ end }) => end).slice(0, MAX_ENTRIES) }
}

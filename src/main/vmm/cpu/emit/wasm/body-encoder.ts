/** Writes the statements of a function as wasm code. */
import { BugError } from '../../../errors'
import type { LoopLabel, Node, Statement } from './function'
import { LocalPool } from './local-pool'
import { ByteWriter, NO_HINTS } from './module'
import { MEMORY_COPY, MEMORY_FILL, MEMORY_OPS, Op, SHUFFLE, V128_CONST, VEC_MEMORY_OPS, encodeName, type ValType } from './opcodes'

/** Where an `if` stands in the code, and whether its condition mostly holds. */
interface BranchHint { readonly at: number; readonly likely: boolean }

const LOAD_OP = /^(i32|i64|v128)\.load/

/** Effects keep a node alive; pure ones and loads live only where live code uses them. */
const isRoot = (node: Node): boolean => !node.pure && node.op !== 'local' && node.op !== 'call-pure' && !LOAD_OP.test(node.op)

function countUse(node: Node): void {
  node.uses++
  if (node.uses === 1) for (const arg of node.args) countUse(arg)
}

/** Counts uses from effects and control flow alone, so that what only dead nodes use is not written. */
export function countList(statements: readonly Statement[]): void {
  for (const s of statements) countStatement(s)
}

function countStatement(s: Statement): void {
  switch (s.k) {
    case 'node':
      if (isRoot(s.node)) for (const arg of s.node.args) countUse(arg)
      return
    case 'if':
      countUse(s.cond)
      countList(s.then)
      return countList(s.otherwise)
    case 'loop': case 'block': case 'scope': return countList(s.body)
    case 'jump': return
    case 'switch': return countUse(s.index)
    case 'set': return countUse(s.value)
    case 'return':
      if (s.value) countUse(s.value)
      return
    case 'tail-call': return s.args.forEach(countUse)
    case 'tail-call-indirect':
      s.args.forEach(countUse)
      return countUse(s.index)
  }
}

export class BodyEncoder {
  /** Innermost last; an `if` is a frame without label. */
  private readonly frames: { label?: LoopLabel; part: 'break' | 'continue' | 'if' }[] = []
  private readonly pool = new LocalPool()
  private readonly hints: BranchHint[] = []

  constructor(private readonly out: ByteWriter, private readonly newLocal: (type: ValType) => number) {}

  /**
   * Which way the code's branches mostly go, as `ModuleBuilder.setBody` takes it.
   * @param start bytes of the body before the code: hints count from the body's beginning
   */
  encodeHints(start: number): Uint8Array {
    const { hints } = this
    if (hints.length === 0) return NO_HINTS
    const out = new ByteWriter(4 * hints.length + 4)
    out.u32(hints.length)
    for (const { at, likely } of hints) {
      out.u32(start + at)
      out.u32(1) // bytes of the hint
      out.u8(likely ? 1 : 0)
    }
    return out.take()
  }

  list(statements: readonly Statement[]): void {
    for (const s of statements) this.statement(s)
  }

  private statement(s: Statement): void {
    const { out } = this
    switch (s.k) {
      case 'node': return this.definition(s.node)
      case 'set':
        this.expression(s.value)
        out.u8(Op.localSet)
        return out.u32(s.local)
      case 'if': return this.ifStatement(s)
      case 'loop': return this.loopStatement(s)
      case 'block': return this.blockStatement(s)
      case 'scope': return this.pool.scope(() => this.list(s.body))
      case 'jump':
        out.u8(Op.br)
        return out.u32(this.depthOf(s.label, s.to))
      case 'switch': return this.switchStatement(s)
      case 'return':
        if (s.value) this.expression(s.value)
        return out.u8(Op.return)
      case 'tail-call':
        for (const a of s.args) this.expression(a)
        out.u8(Op.returnCall)
        return out.u32(s.func)
      case 'tail-call-indirect':
        for (const a of s.args) this.expression(a)
        this.expression(s.index)
        out.u8(Op.returnCallIndirect)
        out.u32(s.type)
        return out.u32(0)
    }
  }

  private definition(node: Node): void {
    if (node.uses === 0 && !isRoot(node)) return
    if (node.pure && node.uses < 2) return
    this.compute(node)
    if (node.type === undefined) return
    if (node.uses === 0) return this.out.u8(Op.drop)
    const { type } = node
    node.local = this.pool.take(type, () => this.newLocal(type))
    this.out.u8(Op.localSet)
    this.out.u32(node.local)
  }

  private ifStatement(s: Extract<Statement, { k: 'if' }>): void {
    const { out } = this
    this.expression(s.cond)
    if (s.likely !== undefined) this.hints.push({ at: out.length, likely: s.likely })
    out.u8(Op.if)
    out.u8(Op.void)
    this.frames.push({ part: 'if' })
    this.list(s.then)
    if (s.otherwise.length > 0) {
      out.u8(Op.else)
      this.list(s.otherwise)
    }
    this.frames.pop()
    out.u8(Op.end)
  }

  private blockStatement(s: Extract<Statement, { k: 'block' }>): void {
    const { out } = this
    out.u8(Op.block)
    out.u8(Op.void)
    this.frames.push({ label: s.label, part: 'break' })
    this.list(s.body)
    this.frames.pop()
    out.u8(Op.end)
  }

  private loopStatement(s: Extract<Statement, { k: 'loop' }>): void {
    const { out } = this
    out.u8(Op.block)
    out.u8(Op.void)
    this.frames.push({ label: s.label, part: 'break' })
    out.u8(Op.loop)
    out.u8(Op.void)
    this.frames.push({ label: s.label, part: 'continue' })
    this.list(s.body)
    out.u8(Op.br)
    out.u32(0)
    this.frames.pop()
    out.u8(Op.end)
    this.frames.pop()
    out.u8(Op.end)
  }

  private switchStatement({ index, labels }: Extract<Statement, { k: 'switch' }>): void {
    const { out } = this
    this.expression(index)
    out.u8(Op.brTable)
    out.u32(labels.length - 1)
    for (const label of labels) out.u32(this.depthOf(label, 'break'))
  }

  /** Frames between here and a label's, as branches count them. */
  private depthOf(label: LoopLabel, to: 'break' | 'continue'): number {
    const at = this.frames.findIndex((frame) => frame.label === label && frame.part === to)
    if (at < 0) throw new BugError('jump out of a loop that does not enclose it')
    return this.frames.length - 1 - at
  }

  private expression(node: Node): void {
    if (node.local >= 0) {
      this.out.u8(Op.localGet)
      return this.out.u32(node.local)
    }
    if (!node.pure) throw new BugError(`the result of ${node.op} is used where it does not exist`)
    this.compute(node)
  }

  private compute(node: Node): void {
    const { out } = this
    for (const arg of node.args) this.expression(arg)
    switch (node.op) {
      case 'const':
        out.u8(node.type === 'i32' ? Op.i32Const : Op.i64Const)
        return node.type === 'i32' ? out.s32(Number(node.imm)) : out.s64(BigInt(node.imm))
      case 'param': case 'local':
        out.u8(Op.localGet)
        return out.u32(Number(node.imm))
      case 'call': case 'call-pure':
        out.u8(Op.call)
        return out.u32(Number(node.imm))
      case 'call-indirect':
        out.u8(Op.callIndirect)
        out.u32(Number(node.imm))
        return out.u32(0)
      case 'select': return out.u8(Op.select)
      case 'memory.copy': case 'memory.fill':
        out.u8(Op.prefixFC)
        out.u32(node.op === 'memory.copy' ? MEMORY_COPY : MEMORY_FILL)
        if (node.op === 'memory.copy') out.u8(0)
        return out.u8(0)
      case 'v128.const': case 'i8x16.shuffle':
        out.u8(Op.prefixFD)
        out.u32(node.op === 'v128.const' ? V128_CONST : SHUFFLE)
        for (const b of node.bytes ?? []) out.u8(b)
        return
      default: return this.named(node)
    }
  }

  private named(node: Node): void {
    const { out } = this
    const plain = MEMORY_OPS[node.op] as readonly [number, number] | undefined
    const vector = VEC_MEMORY_OPS[node.op] as readonly [number, number] | undefined
    if (plain ?? vector) {
      if (vector) out.u8(Op.prefixFD)
      const [code] = (plain ?? vector) as readonly [number, number]
      if (vector) out.u32(code)
      else out.u8(code)
      out.u32(0) // alignment is a hint; guest addresses have none
      return out.u32(Number(node.imm))
    }
    const { prefix, code, lane } = encodeName(node.op)
    if (prefix === undefined) return out.u8(code)
    out.u8(prefix)
    out.u32(code)
    if (lane) out.u8(Number(node.imm))
  }
}

/**
 * Builds one wasm function as a list of statements over expression nodes, then encodes it.
 * Pure nodes used once are written where they are used; nodes used more often, and results of effects, go through a local.
 */
import { BugError } from '../../../errors'
import { fold } from './fold'
import { ByteWriter } from './module'
import { MEMORY_COPY, MEMORY_FILL, MEMORY_OPS, Op, SHUFFLE, V128_CONST, VALTYPE_CODE, VEC_MEMORY_OPS, encodeName, type ValType } from './opcodes'

/** An expression. `type` undefined: no result (store, void call). */
export interface Node {
  readonly op: string
  readonly type: ValType | undefined
  readonly args: readonly Node[]
  /** Constant value, memory offset, function index, lane or local number, by `op`. */
  readonly imm: number | bigint
  readonly bytes: readonly number[] | undefined
  readonly pure: boolean
  /** Set by `encode`: how often live code uses it, and the local that holds it. */
  uses: number
  local: number
}

export interface LoopLabel { readonly loop: true }
/** Target of forward jumps: the end of a `block`. */
export type BlockLabel = LoopLabel

/** Opaque outside this file. */
export type Statement =
  | { readonly k: 'node'; readonly node: Node }
  | { readonly k: 'if'; readonly cond: Node; readonly then: Statement[]; readonly otherwise: Statement[] }
  | { readonly k: 'loop'; readonly label: LoopLabel; readonly body: Statement[] }
  | { readonly k: 'block'; readonly label: BlockLabel; readonly body: Statement[] }
  | { readonly k: 'scope'; readonly body: Statement[] }
  | { readonly k: 'jump'; readonly label: LoopLabel; readonly to: 'break' | 'continue' }
  | { readonly k: 'switch'; readonly index: Node; readonly labels: readonly BlockLabel[] }
  | { readonly k: 'set'; readonly local: number; readonly value: Node }
  | { readonly k: 'return'; readonly value: Node | undefined }
  | { readonly k: 'tail-call'; readonly func: number; readonly args: readonly Node[] }
  | { readonly k: 'tail-call-indirect'; readonly type: number; readonly args: readonly Node[]; readonly index: Node }

/** A place in the code under construction. */
export interface Mark { readonly list: Statement[]; readonly index: number }

/** Locals of code that runs on ways apart, one after the other: what one way has done with, the next takes. */
class LocalPool {
  private readonly free = new Map<ValType, number[]>()
  private taken: { readonly type: ValType; readonly local: number }[] | undefined

  take(type: ValType, create: () => number): number {
    if (!this.taken) return create()
    const local = this.free.get(type)?.pop() ?? create()
    this.taken.push({ type, local })
    return local
  }

  /** Scopes do not nest. */
  scope(body: () => void): void {
    if (this.taken) throw new BugError('a scope of locals within another')
    const taken: { readonly type: ValType; readonly local: number }[] = []
    this.taken = taken
    body()
    this.taken = undefined
    for (const { type, local } of taken) this.free.set(type, [...this.free.get(type) ?? [], local])
  }
}

export class FunctionBuilder {
  private readonly localTypes: ValType[] = []
  private readonly pool = new LocalPool()
  private statements: Statement[] = []
  /** Stores and calls written so far, less those of arms that end the function. */
  effects = 0

  /** @param params types of the parameters: locals 0 … n-1, never written */
  constructor(readonly params: readonly ValType[]) {}

  // ── nodes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private node(op: string, type: ValType | undefined, args: readonly Node[], imm: number | bigint, pure: boolean, bytes?: readonly number[]): Node {
    const node: Node = { op, type, args, imm, pure, uses: 0, local: -1, bytes }
    if (type === undefined || op.startsWith('call')) this.effects++
    if (op !== 'const' && op !== 'param' && !(pure && op === 'local')) this.statements.push({ k: 'node', node })
    return node
  }

  param(index: number): Node {
    return this.node('param', this.params[index], [], index, true)
  }

  i32(value: number): Node {
    return this.node('const', 'i32', [], value | 0, true)
  }

  i64(value: bigint): Node {
    return this.node('const', 'i64', [], BigInt.asIntN(64, value), true)
  }

  v128(bytes: readonly number[]): Node {
    return this.node('v128.const', 'v128', [], 0, true, bytes)
  }

  /** A side-effect free instruction by its wasm name; `imm` is the lane where it takes one. */
  pure(op: string, type: ValType, args: readonly Node[], imm = 0): Node {
    return fold(this, op, args) ?? this.node(op, type, args, imm, true)
  }

  /** Division may trap, so it stays where it is. */
  ordered(op: string, type: ValType, args: readonly Node[]): Node {
    return this.node(op, type, args, 0, false)
  }

  shuffle(lanes: readonly number[], a: Node, b: Node): Node {
    return this.node('i8x16.shuffle', 'v128', [a, b], 0, true, lanes)
  }

  load(op: string, type: ValType, address: Node, offset = 0): Node {
    return this.node(op, type, [address], offset, false)
  }

  /** A load of memory that nothing in this function writes: free to move and to drop. */
  loadConstant(op: string, type: ValType, address: Node, offset = 0): Node {
    return this.node(op, type, [address], offset, true)
  }

  store(op: string, address: Node, value: Node, offset = 0): void {
    this.node(op, undefined, [address, value], offset, false)
  }

  /** `length` bytes, as if by way of a buffer where the ranges overlap. */
  copyMemory(to: Node, from: Node, length: Node): void {
    this.node('memory.copy', undefined, [to, from, length], 0, false)
  }

  fillMemory(at: Node, byte: Node, length: Node): void {
    this.node('memory.fill', undefined, [at, byte, length], 0, false)
  }

  call(func: number, result: ValType | undefined, args: readonly Node[]): Node {
    return this.node('call', result, args, func, false)
  }

  /** Call of a function without effects: dropped where nothing uses its result. */
  callPure(func: number, result: ValType, args: readonly Node[]): Node {
    return this.node('call-pure', result, args, func, false)
  }

  /** Call through the table: the last argument is the slot. */
  callIndirect(type: number, result: ValType | undefined, args: readonly Node[], slot: Node): Node {
    return this.node('call-indirect', result, [...args, slot], type, false)
  }

  // ── statements ────────────────────────────────────────────────────────────────────────────────────────────────

  newLocal(type: ValType): number {
    return this.pool.take(type, () => this.addLocal(type))
  }

  private addLocal(type: ValType): number {
    this.localTypes.push(type)
    return this.params.length + this.localTypes.length - 1
  }

  /** Code whose nodes and new locals nothing behind it uses: the locals serve the next scope again. Scopes do not nest. */
  scope(body: () => void): void {
    this.pool.scope(() => {
      this.statements.push({ k: 'scope', body: this.collect(body) })
    })
  }

  /** Value of a mutable local now; later `setLocal`s do not change it. */
  getLocal(local: number): Node {
    return this.node('local', this.localTypes[local - this.params.length], [], local, false)
  }

  /** Value of a local that is set once, before every use: no copy is needed. */
  finalLocal(local: number): Node {
    return this.node('local', this.localTypes[local - this.params.length], [], local, true)
  }

  setLocal(local: number, value: Node): void {
    this.statements.push({ k: 'set', local, value })
  }

  if(cond: Node, then: () => void, otherwise?: () => void): void {
    const thenList = this.arm(then)
    const otherList = otherwise ? this.arm(otherwise) : []
    this.statements.push({ k: 'if', cond, then: thenList, otherwise: otherList })
  }

  loop(body: (label: LoopLabel) => void): void {
    const label: LoopLabel = { loop: true }
    this.statements.push({ k: 'loop', label, body: this.collect(() => body(label)) })
  }

  /** Runs once; a jump to 'break' of the label goes on behind it. */
  block(body: (label: BlockLabel) => void): void {
    const label: BlockLabel = { loop: true }
    this.statements.push({ k: 'block', label, body: this.collect(() => body(label)) })
  }

  jump(label: LoopLabel, to: 'break' | 'continue'): void {
    this.statements.push({ k: 'jump', label, to })
  }

  /** Breaks out of the block whose label stands at `index`; of the last one where there are not so many. */
  switch(index: Node, labels: readonly BlockLabel[]): void {
    this.statements.push({ k: 'switch', index, labels })
  }

  return(value?: Node): void {
    this.statements.push({ k: 'return', value })
  }

  tailCall(func: number, args: readonly Node[]): void {
    this.statements.push({ k: 'tail-call', func, args })
  }

  tailCallIndirect(type: number, args: readonly Node[], index: Node): void {
    this.statements.push({ k: 'tail-call-indirect', type, args, index })
  }

  /** A place to come back to with `insertAt`. */
  mark(): Mark {
    return { list: this.statements, index: this.statements.length }
  }

  /**
   * Adds statements at a mark. They may use nodes that stood before the mark. Of several marks in one list the last must be
   * used first.
   */
  insertAt(mark: Mark, build: () => void): void {
    const added = this.collect(build)
    mark.list.splice(mark.index, 0, ...added)
  }

  private arm(build: () => void): Statement[] {
    const before = this.effects
    const statements = this.collect(build)
    const last = statements.at(-1)?.k
    if (last === 'return' || last === 'tail-call' || last === 'tail-call-indirect') this.effects = before
    return statements
  }

  private collect(build: () => void): Statement[] {
    const outer = this.statements
    this.statements = []
    build()
    const inner = this.statements
    this.statements = outer
    return inner
  }

  // ── encoding ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Bytes of the function body: local declarations and code. The caller made sure every path returns. */
  encode(): Uint8Array {
    countList(this.statements)
    const code = new ByteWriter(256)
    const encoder = new BodyEncoder(code, (type) => this.addLocal(type))
    encoder.list(this.statements)
    code.u8(Op.unreachable)
    code.u8(Op.end)
    const out = new ByteWriter(code.length + 16)
    const runs: { type: ValType; count: number }[] = []
    for (const type of this.localTypes) {
      const last = runs[runs.length - 1]
      if (last?.type === type) last.count++
      else runs.push({ type, count: 1 })
    }
    out.u32(runs.length)
    for (const { type, count } of runs) {
      out.u32(count)
      out.u8(VALTYPE_CODE[type])
    }
    out.raw(code.take())
    return out.take()
  }
}

const LOAD_OP = /^(i32|i64|v128)\.load/

/** Effects keep a node alive; pure ones and loads live only where live code uses them. */
const isRoot = (node: Node): boolean => !node.pure && node.op !== 'local' && node.op !== 'call-pure' && !LOAD_OP.test(node.op)

function countUse(node: Node): void {
  node.uses++
  if (node.uses === 1) for (const arg of node.args) countUse(arg)
}

/** Counts uses from effects and control flow alone, so that what only dead nodes use is not written. */
function countList(statements: readonly Statement[]): void {
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

class BodyEncoder {
  /** Innermost last; an `if` is a frame without label. */
  private readonly frames: { label?: LoopLabel; part: 'break' | 'continue' | 'if' }[] = []
  private readonly pool = new LocalPool()

  constructor(private readonly out: ByteWriter, private readonly newLocal: (type: ValType) => number) {}

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

/**
 * Builds one wasm function as a list of statements over expression nodes, then encodes it.
 * Pure nodes used once are written where they are used; nodes used more often, and results of effects, go through a local.
 */
import { BodyEncoder, countList } from './body-encoder'
import { fold } from './fold'
import { LocalPool } from './local-pool'
import { dropUnseenStore } from './unseen-store'
import { ByteWriter, NO_HINTS } from './module'
import { Op, VALTYPE_CODE, type ValType } from './opcodes'

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
  | { readonly k: 'if'; readonly cond: Node; readonly then: Statement[]; readonly otherwise: Statement[]; readonly likely: boolean | undefined }
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

export class FunctionBuilder {
  private readonly localTypes: ValType[] = []
  private readonly pool = new LocalPool()
  private statements: Statement[] = []
  /** Of the encoded body: which way its `if`s mostly go, as `ModuleBuilder.setBody` takes it. */
  hints: Uint8Array = NO_HINTS
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

  /** The sum of an integer and a constant; `set` changes the constant, until the function is encoded. */
  adjustableSum(value: Node, by: number): { readonly sum: Node; readonly set: (by: number) => void } {
    const type = value.type as 'i32' | 'i64'
    const [base, right] = value.op === `${type}.add` ? value.args : [value]
    const isSum = right?.op === 'const'
    const from = isSum ? Number(right.imm) : 0
    const constantOf = (n: number): number | bigint => (type === 'i32' ? (from + n) | 0 : BigInt.asIntN(64, BigInt(from + n)))
    const constant: { imm: number | bigint } & Node = this.node('const', type, [], constantOf(by), true)
    const sum = this.node(`${type}.add`, type, [isSum ? base : value, constant], 0, true)
    return { sum, set: (n) => { constant.imm = constantOf(n) } }
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

  /** As `store`. A store to the same place before it is dropped where nothing between them can have seen what it stored. */
  storeAgain(op: string, address: Node, value: Node, offset: number): void {
    dropUnseenStore(this.statements, { op, address, offset })
    this.store(op, address, value, offset)
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

  if(cond: Node, then: () => void, otherwise?: () => void, likely?: boolean): void {
    const thenList = this.arm(then)
    const otherList = otherwise ? this.arm(otherwise) : []
    this.statements.push({ k: 'if', cond, then: thenList, otherwise: otherList, likely })
  }

  /** `otherwise` hardly ever runs: the host's compiler puts it out of the way, and keeps its cost out of `then`. */
  likely(cond: Node, then: () => void, otherwise?: () => void): void {
    this.if(cond, then, otherwise, true)
  }

  /** `then` hardly ever runs. */
  unlikely(cond: Node, then: () => void): void {
    this.if(cond, then, undefined, false)
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
    this.hints = encoder.encodeHints(out.length)
    out.raw(code.take())
    return out.take()
  }
}

/** Stores that are overwritten before anything can have read them. */
import type { Node, Statement } from './function'

/** Statements looked at: further back there is hardly ever one that no branch lies behind. */
const WINDOW = 96
/** Bytes of the longest access. */
const LONGEST = 16

export interface StorePlace { readonly op: string; readonly address: Node; readonly offset: number }

const isSameAddress = (a: Node, b: Node): boolean => a === b || (a.op === 'param' && b.op === 'param' && a.imm === b.imm)

/**
 * Takes the last store to a place out of a list of statements, where only computing and accesses to other places lie behind it. An access
 * by another address is one to another place: translated code reaches the state block by one address alone.
 */
export function dropUnseenStore(statements: Statement[], { op, address, offset }: StorePlace): void {
  for (let i = statements.length - 1; i >= Math.max(0, statements.length - WINDOW); i--) {
    const statement = statements[i]
    if (statement.k === 'set') continue
    if (statement.k !== 'node') return
    const { node } = statement
    const isAccess = node.op.includes('.load') || node.op.includes('.store')
    if (!isAccess && !node.pure && node.op !== 'local') return
    if (!isAccess || !isSameAddress(node.args[0], address) || Math.abs(Number(node.imm) - offset) >= LONGEST) continue
    if (node.op === op && node.imm === offset) statements[i] = { k: 'scope', body: [] }
    return
  }
}

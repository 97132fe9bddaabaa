/** The rows of a tree of snapshots: plain functions, so that they are easy to test and fast with hundreds. */
import type { Snapshot, SnapshotTree } from '../api/types'

/** What the machine is now: the last row below the snapshot it descends from. */
export const PRESENT = 'present'

export interface SnapshotRow {
  /** Of the snapshot, or {@link PRESENT}. */
  readonly id: string
  /** undefined: the present. */
  readonly snapshot: Snapshot | undefined
  /** How deep in the tree, from 1. */
  readonly level: number
  /** How far to the right: a line of descent without branches stays where it is, however long. */
  readonly indent: number
  /** Place among its siblings, from 1. */
  readonly place: number
  readonly siblings: number
  readonly parent: string | null
  /** Branches off here: can be folded. */
  readonly isBranching: boolean
  readonly isFolded: boolean
  /** Rows below it in the tree, shown or not. */
  readonly descendants: number
  /** Whether a line goes on to the row below, and whether one comes from above. */
  readonly hasLineDown: boolean
  readonly hasLineUp: boolean
  /** Begins a line beside that of its parent. */
  readonly isAside: boolean
  /** Columns whose lines pass this row by. */
  readonly through: readonly number[]
}

/** Beyond this the names would leave the window. */
const INDENT_MAX = 10

/** Children of each, the present last. '' stands for none. */
function childrenOf({ current, snapshots }: SnapshotTree): Map<string, string[]> {
  const children = new Map<string, string[]>()
  const add = (parent: string | null, id: string): void => {
    const list = children.get(parent ?? '')
    if (list) list.push(id)
    else children.set(parent ?? '', [id])
  }
  for (const { id, parent } of snapshots) add(parent, id)
  add(current, PRESENT)
  return children
}

/** Deepest first, without recursion: a chain of snapshots can be long. */
function countDescendants(children: ReadonlyMap<string, readonly string[]>): Map<string, number> {
  const order: string[] = []
  const open = ['']
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    order.push(id)
    open.push(...(children.get(id) ?? []))
  }
  const counts = new Map<string, number>()
  for (const id of order.reverse()) counts.set(id, (children.get(id) ?? []).reduce((sum, child) => sum + 1 + (counts.get(child) ?? 0), 0))
  return counts
}

/** @param folded ids of the snapshots whose descendants are hidden @returns from top to bottom as they are shown */
export function snapshotRows(tree: SnapshotTree, folded: ReadonlySet<string>): SnapshotRow[] {
  const children = childrenOf(tree)
  const counts = countDescendants(children)
  const byId = new Map(tree.snapshots.map((entry) => [entry.id, entry]))
  const rows: SnapshotRow[] = []
  const open: { id: string; level: number; indent: number; place: number; siblings: number; parent: string | null; isAside: boolean; through: readonly number[] }[] = []
  const push = (parent: string, level: number, indent: number, through: readonly number[]): void => {
    const ids = children.get(parent) ?? []
    for (let i = ids.length - 1; i >= 0; i--) {
      // The last branch goes on straight below; the others stand aside.
      const isAside = parent !== '' && i < ids.length - 1
      open.push({
        id: ids[i], level, place: i + 1, siblings: ids.length, parent: parent || null, isAside,
        indent: isAside ? Math.min(indent + 1, INDENT_MAX) : indent, through: isAside ? [...through, indent] : through,
      })
    }
  }
  push('', 1, 0, [])
  for (let next = open.pop(); next; next = open.pop()) {
    const own = children.get(next.id)?.length ?? 0
    const isFolded = folded.has(next.id) && own > 1
    rows.push({
      ...next, snapshot: byId.get(next.id), isBranching: own > 1, isFolded, descendants: counts.get(next.id) ?? 0,
      hasLineDown: own > 0 && !isFolded, hasLineUp: next.parent !== null && !next.isAside,
    })
    if (!isFolded) push(next.id, next.level + 1, next.indent, next.through)
  }
  return rows
}

/** From the first to the one itself: its line of descent. */
export function lineOf({ snapshots }: SnapshotTree, id: string): string[] {
  const byId = new Map(snapshots.map((entry) => [entry.id, entry]))
  const line: string[] = []
  for (let at = byId.get(id); at && !line.includes(at.id); at = at.parent === null ? undefined : byId.get(at.parent)) line.unshift(at.id)
  return line
}

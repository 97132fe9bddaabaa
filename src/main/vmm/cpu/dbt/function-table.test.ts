import { expect, it } from 'vitest'
import type { WasmInstance, WasmMemory, WasmTable } from '../../ports'
import { FunctionTable } from './function-table'

const TIER0_SLOTS = 10

/** A module is a list of names; its instance puts them into the table, as an element segment does. */
class Engine {
  readonly tables: unknown[][] = []
  readonly memory = {} as WasmMemory
  readonly wasm = {
    createMemory: (): WasmMemory => this.memory,
    createTable: (): WasmTable => this.newTable(),
    compile: (): unknown => [],
    instantiate: (module: unknown, { env }: Record<string, Record<string, unknown>>): WasmInstance => {
      (module as string[]).forEach((name, i) => (env.table as WasmTable).set((env.base as number) + i, name))
      return { exports: {} }
    },
  }

  readonly newTable = (): WasmTable => {
    const slots: unknown[] = Array.from({ length: TIER0_SLOTS }, () => 'tier 0')
    this.tables.push(slots)
    return {
      get length() { return slots.length },
      get: (index) => slots[index],
      set: (index, value) => {
        if (index >= slots.length) throw new RangeError(`no slot ${index}`)
        slots[index] = value
      },
      grow: (delta) => slots.push(...new Array<unknown>(delta).fill(undefined)),
    }
  }

  /** What stands in the newest table. */
  at(slot: number): unknown {
    return this.tables.at(-1)?.[slot]
  }
}

function createTable(): { engine: Engine; table: FunctionTable } {
  const engine = new Engine()
  return { engine, table: new FunctionTable(engine, engine.newTable()) }
}

const KNOWN = (): boolean => true

it('a place is taken again once all functions of its module are released', () => {
  const { table } = createTable()
  const first = table.add(['a', 'b', 'c'], 3, [0, 2])
  expect(first).toBe(TIER0_SLOTS)
  table.release(first)
  expect(table.add(['d'], 1, [0])).toBe(first + 3)
  table.release(first + 2)
  expect(table.add(['e', 'f'], 2, [0, 1])).toBe(first)
  expect(table.functions).toBe(3)
  expect(table.modules).toBe(3)
})

it('is full where records have no number for many more slots, until what may be dropped is', () => {
  const { table } = createTable()
  const pinned = table.add(new Array<string>(100).fill('pinned'), 100)
  const slots: number[] = []
  while (!table.isFull) slots.push(table.add(new Array<string>(500).fill('f'), 500, [0]))
  expect(slots.at(-1)).toBeGreaterThan(60_000)
  expect((slots.at(-1) ?? 0) + 500).toBeLessThan(0x1_0000)
  for (const slot of slots.filter((_, i) => i % 2 === 0)) table.release(slot)
  expect(table.isFull).toBe(slots.length % 2 === 0)
  for (const slot of slots.filter((_, i) => i % 2 === 1)) table.release(slot)
  expect(table.isFull).toBe(false)
  expect(table.add(['again'], 1, [0])).toBe(pinned + 100)
})

it('functions of many small modules move into one, and others with their modules', () => {
  const { engine, table } = createTable()
  const pinned = table.add(['old 0', 'old 1'], 2)
  const slots = Array.from({ length: 20 }, (_, i) => table.add([`f${i}`, `dead${i}`], 2, [0]))
  const large = table.add(Array.from({ length: 3000 }, (_, i) => `g${i}`), 3000, Array.from({ length: 3000 }, (_, i) => i))
  expect(table.scattered(KNOWN)).toEqual(slots)
  // One is dropped while the others are put together.
  table.release(slots[7])
  const moved = table.rebuild({ module: slots.map((_, i) => `m${i}`), slots: slots.map((slot, i) => (i === 7 ? undefined : slot)) })
  slots.forEach((slot, i) => expect(engine.at(moved.get(slot) ?? 0)).toBe(i === 7 ? 'tier 0' : `m${i}`))
  expect(engine.at(moved.get(pinned + 1) ?? 0)).toBe('old 1')
  expect(engine.at(moved.get(large + 2999) ?? 0)).toBe('g2999')
  expect(engine.at(0)).toBe('tier 0')
  expect(table.modules).toBe(3)
  expect(table.functions).toBe(3019)
  expect(table.scattered(KNOWN)).toEqual([])
})

it('a new table has what is in use, and nothing of what was dropped', () => {
  const { engine, table } = createTable()
  const pinned = table.add(['pinned'], 1)
  const slots = Array.from({ length: 20 }, (_, i) => table.add([`f${i}`], 1, [0]))
  for (const slot of slots.slice(0, 19)) table.release(slot)
  expect([table.functions, table.modules]).toEqual([1, 21])
  const moved = table.renew()
  expect([pinned, slots[19]].map((slot) => engine.at(moved.get(slot) ?? 0))).toEqual(['pinned', 'f19'])
  expect([table.functions, table.modules, moved.size]).toEqual([1, 2, 2])
  expect(table.add(['next'], 1, [0])).toBe(TIER0_SLOTS + 2)
})

it('few modules stay, and such as hold a function whose code is not at hand', () => {
  const { table } = createTable()
  const slots = Array.from({ length: 15 }, (_, i) => table.add([`f${i}`], 1, [0]))
  expect(table.scattered(KNOWN)).toEqual([])
  slots.push(table.add(['g', 'h'], 2, [0, 1]))
  expect(table.scattered(KNOWN)).toHaveLength(17)
  expect(table.scattered((slot) => slot !== slots[15])).toEqual([])
})

it('a large module of which most was dropped is small', () => {
  const { table } = createTable()
  const first = table.add([], 3000, Array.from({ length: 3000 }, (_, i) => i))
  for (let i = 0; i < 15; i++) table.add([`f${i}`], 1, [0])
  for (let i = 0; i < 1600; i++) table.release(first + i)
  expect(table.scattered(KNOWN)).toHaveLength(1415)
})

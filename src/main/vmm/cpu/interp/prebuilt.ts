/** Tier 0 built ahead of time: a machine's process then starts without building every meaning again, or looking at the table at all. */
import type { Helper } from '../emit/emitter'
import { allHelpers } from '../helpers'
import type { InsnRow } from '../isa/types'
import { buildInterpreter, type CallSlots, type InterpreterModule } from './builder'
import { countForms, numberHandlers, type FormCounts, type HandlerTable } from './handler-table'

/** What a module needs beside its bytes, as plain data. */
export interface InterpreterPlan {
  /** Of the table it was built from. */
  readonly counts: FormCounts
  readonly helpers: readonly string[]
  readonly calls: Omit<CallSlots, 'helper'>
  readonly helperSlots: readonly number[]
  readonly tableSize: number
}

export interface PrebuiltInterpreter {
  readonly plan: InterpreterPlan
  readonly bytes: Uint8Array
  /** What an engine made of it (`WasmEngine.revive`). */
  readonly machineCode?: Uint8Array
}

/** To be done when the program is built. @throws RangeError where a meaning calls a helper that `cpu/helpers` does not list */
export function prebuildInterpreter(rows: readonly InsnRow[]): PrebuiltInterpreter {
  const { bytes, helpers, calls, tableSize } = buildInterpreter(rows)
  const names = helpers.map(({ name }) => name)
  const listed = findHelpers(names)
  const missing = helpers.find((helper, i) => listed?.[i] !== helper)
  if (missing) throw new RangeError(`helper ${missing.name} is not in the list of cpu/helpers`)
  const { helper: slots, ...fixed } = calls
  return { bytes, plan: { counts: countForms(rows), helpers: names, calls: fixed, helperSlots: helpers.map((helper) => slots.get(helper) ?? 0), tableSize } }
}

/** @returns undefined where one is not known */
function findHelpers(names: readonly string[]): readonly Helper[] | undefined {
  const byName = new Map(allHelpers.map((helper) => [helper.name, helper]))
  const found = names.map((name) => byName.get(name))
  return found.every((helper) => helper !== undefined) ? found : undefined
}

/** What `buildInterpreter` and `numberHandlers` would give; undefined where the plan is of another table. */
export function loadInterpreter(rows: readonly InsnRow[], { plan, bytes }: PrebuiltInterpreter): (InterpreterModule & { readonly handlers: HandlerTable }) | undefined {
  const { counts, calls, helperSlots, tableSize } = plan
  const helpers = findHelpers(plan.helpers)
  if (counts.forms.length !== rows.length || !helpers) return undefined
  const helper = new Map(helpers.map((h, i) => [h, helperSlots[i]]))
  return { bytes, helpers, calls: { ...calls, helper }, tableSize, handlers: numberHandlers(rows, counts) }
}

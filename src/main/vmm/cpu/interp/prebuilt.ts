/** Tier 0 built ahead of time: a machine's process then starts without building every meaning again. */
import type { Helper } from '../emit/emitter'
import { formsOf } from '../isa/forms'
import type { Form, InsnRow } from '../isa/types'
import { layOutHandler, buildInterpreter, fixedLinks, HelperImports, numberHandlers, SLOW_IMPORTS, type CallSlots, type HandlerTable, type InterpreterModule } from './builder'

/** What a module needs beside its bytes, as plain data. */
export interface InterpreterPlan {
  /** Of the table it was built from: slots after its handlers. */
  readonly handlers: number
  readonly helpers: readonly string[]
  /** For each form that uses a helper first, its number in the table's order: laying these out finds every helper. */
  readonly helperForms: readonly number[]
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

const allForms = (rows: readonly InsnRow[]): Form[] => rows.flatMap((row) => [...formsOf(row)])

/** To be done when the program is built. */
export function prebuildInterpreter(rows: readonly InsnRow[]): PrebuiltInterpreter {
  const { bytes, helpers, calls, tableSize } = buildInterpreter(rows)
  const handlers = numberHandlers(rows)
  const imports = new HelperImports(SLOW_IMPORTS.length)
  const links = fixedLinks(0, 0, imports)
  const helperForms: number[] = []
  allForms(rows).forEach((form, i) => {
    const before = imports.list.length
    layOutHandler(form, handlers.of(form).places, links)
    if (imports.list.length > before) helperForms.push(i)
  })
  const { helper: slots, ...fixed } = calls
  const helperSlots = helpers.map((helper) => slots.get(helper) ?? 0)
  return { bytes, plan: { handlers: handlers.size, helpers: helpers.map(({ name }) => name), helperForms, calls: fixed, helperSlots, tableSize } }
}

function findHelpers(rows: readonly InsnRow[], { helperForms }: InterpreterPlan, handlers: HandlerTable): readonly Helper[] {
  const imports = new HelperImports(SLOW_IMPORTS.length)
  const links = fixedLinks(0, 0, imports)
  const forms = allForms(rows)
  for (const i of helperForms) if (i < forms.length) layOutHandler(forms[i], handlers.of(forms[i]).places, links)
  return imports.list
}

/** What `buildInterpreter` would give; undefined where the plan is of another table. */
export function loadInterpreter(rows: readonly InsnRow[], { plan, bytes }: PrebuiltInterpreter, handlers = numberHandlers(rows)): InterpreterModule | undefined {
  if (plan.handlers !== handlers.size) return undefined
  const helpers = findHelpers(rows, plan, handlers)
  if (helpers.length !== plan.helpers.length || helpers.some(({ name }, i) => name !== plan.helpers[i])) return undefined
  const helper = new Map(helpers.map((h, i) => [h, plan.helperSlots[i]]))
  return { bytes, helpers, calls: { ...plan.calls, helper }, tableSize: plan.tableSize }
}

/** What the build put beside the program: the interpreter, and the thread that translates. Used only where both are of this very program. */
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { NodeBackgroundThread } from '../host'
import { programId } from '../host/cached-program'
import type { MachinePorts, PrebuiltInterpreter } from '../vmm/machine'

const MODULE = 'interpreter.wasm'
const PLAN = 'interpreter.json'
const TRANSLATOR = 'translator.cjs'

export interface PlanFile {
  readonly plan: PrebuiltInterpreter['plan']
  /** Ids of the bundles it was built with (`programId`), by file name. */
  readonly bundles: Readonly<Record<string, string>>
}

export interface Prebuilt {
  readonly interpreter?: PrebuiltInterpreter
  /** Path of the bundle that `NodeBackgroundThread` runs. */
  readonly translator?: string
}

/** @param folder where the build put it @param bundle this program's own file. Empty where there is none, or of another build */
export function readPrebuilt(folder: string, bundle: string): Prebuilt {
  try {
    const { plan, bundles } = JSON.parse(readFileSync(join(folder, PLAN), 'utf8')) as PlanFile
    if (bundles[basename(bundle)] !== programId(bundle)) return {}
    const interpreter = { plan, bytes: readFileSync(join(folder, MODULE)) }
    const translator = join(folder, TRANSLATOR)
    return existsSync(translator) && bundles[TRANSLATOR] === programId(translator) ? { interpreter, translator } : { interpreter }
  } catch {
    return {}
  }
}

/** The same as ports of a machine. @param folder, bundle as `readPrebuilt` @param threads one CPU more than the guest's is to be used */
export function prebuiltPorts(folder: string, bundle: string, threads: boolean): Pick<MachinePorts, 'interpreter' | 'translator'> {
  const { interpreter, translator } = readPrebuilt(folder, bundle)
  return { ...(interpreter ? { interpreter } : {}), ...(translator && threads ? { translator: new NodeBackgroundThread(translator) } : {}) }
}

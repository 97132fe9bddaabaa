/** Where the interpreter built with the program lies, and whether it belongs to this very program. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { PrebuiltInterpreter } from '../vmm/machine'

const MODULE = 'interpreter.wasm'
const PLAN = 'interpreter.json'

export interface PlanFile {
  readonly plan: PrebuiltInterpreter['plan']
  /** SHA-256 of the bundles it was built with, by file name. */
  readonly bundles: Readonly<Record<string, string>>
}

export const hashOf = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** @param folder where the build put it @param bundle this program's own file. Undefined: none, or of another build; it is built then */
export function readPrebuilt(folder: string, bundle: string): PrebuiltInterpreter | undefined {
  try {
    const { plan, bundles } = JSON.parse(readFileSync(join(folder, PLAN), 'utf8')) as PlanFile
    return bundles[basename(bundle)] === hashOf(bundle) ? { plan, bytes: readFileSync(join(folder, MODULE)) } : undefined
  } catch {
    return undefined
  }
}

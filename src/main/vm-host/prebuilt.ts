/** What the build put beside the program: the interpreter, and the thread that translates. Used only where both are of this very program. */
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { NodeBackgroundThread } from '../host'
import { programId } from '../host/cached-program'
import { ENGINE } from '../host/machine-code'
import { TRIM_OBJECT, trimHeap } from '../host/trim-heap'
import type { MachinePorts, PrebuiltInterpreter } from '../vmm/machine'

const MODULE = 'interpreter.wasm'
const PLAN = 'interpreter.json'
/** Programs by what runs them. */
const TRANSLATOR = { launcher: 'translator.cjs', program: 'translator-program.cjs' } as const
const COMPILER = { launcher: 'pack-compiler.cjs', program: 'pack-compiler.cjs' } as const

export interface PlanFile {
  readonly plan: PrebuiltInterpreter['plan']
  /** Ids of the bundles it was built with (`programId`), by file name. */
  readonly bundles: Readonly<Record<string, string>>
}

export interface Prebuilt {
  readonly interpreter?: PrebuiltInterpreter
  /** Path of what `NodeBackgroundThread` runs. */
  readonly translator?: string
  /** Path of the bundle of `pack-compiler.ts`. */
  readonly compiler?: string
}

/** @param folder where the build put it @param bundle this program's own file. Empty where there is none, or of another build */
export function readPrebuilt(folder: string, bundle: string): Prebuilt {
  try {
    const { plan, bundles } = JSON.parse(readFileSync(join(folder, PLAN), 'utf8')) as PlanFile
    if (bundles[basename(bundle)] !== programId(bundle)) return {}
    const bytes = readFileSync(join(folder, MODULE))
    const code = join(folder, `interpreter.${ENGINE}.code`)
    // Made of this module, for the build writes both.
    const interpreter = { plan, bytes, ...(existsSync(code) ? { machineCode: readFileSync(code) } : {}) }
    const [translator, compiler] = [TRANSLATOR, COMPILER].map(({ launcher, program }) => {
      const path = join(folder, program)
      return existsSync(path) && bundles[program] === programId(path) ? join(folder, launcher) : undefined
    })
    return { interpreter, ...(translator ? { translator } : {}), ...(compiler ? { compiler } : {}) }
  } catch {
    return {}
  }
}

/** What gives back the free part of the process's heap. @param folder where the build put what it needs. Undefined where it put nothing */
export function heapTrimmer(folder: string): (() => void) | undefined {
  const object = join(folder, TRIM_OBJECT)
  return existsSync(object) ? () => trimHeap(object) : undefined
}

/** The same as ports of a machine. @param threads one CPU more than the guest's is to be used */
export function prebuiltPorts({ interpreter, translator }: Prebuilt, threads: boolean): Pick<MachinePorts, 'interpreter' | 'translator'> {
  return { ...(interpreter ? { interpreter } : {}), ...(translator && threads ? { translator: new NodeBackgroundThread(translator) } : {}) }
}
